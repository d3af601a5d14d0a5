import { useQuery } from '@tanstack/react-query'
import { useMemo } from 'react'
import type { Schemas } from '../../api/client'
import { auditRules } from '../../api/kernel'
import { type Column, DataTable } from '../../components/DataTable'
import { Broken, Skeleton } from '../../components/States'
import { formatFilter } from '../../state/filter'
import { type Texts, useTexts } from '../../state/texts'
import { parseSort, useSetUrl, useUrl } from '../../state/url'
import { attackAddress, auditSeverities, ruleCondition } from './audit'
import { AuditSeverity } from './AuditPage'
import css from './Kernel.module.css'

interface Row extends Omit<Schemas['AuditRule'], 'in'> {
  where: string
  found: number
  own: boolean
}

/** All rules, with how often each was met; those of receivers that are not ours as far as they were met. */
export function Rules({ counts }: { counts: readonly { value: string; count: number }[] }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const { data, error, refetch, isPending } = useQuery(auditRules())
  const columns = useMemo(() => ruleColumns(t, (id) => set({ q: formatFilter([ruleCondition(id)]), view: undefined })), [t, set])
  const rows = useMemo(() => {
    const found = new Map(counts.map((c) => [c.value, c.count]))
    const builtin = (data?.rules ?? []).map((r): Row => ({ ...r, where: r.in, found: found.get(r.id) ?? 0, own: false }))
    const known = new Set(builtin.map((r) => r.id))
    const others = counts.filter((c) => !known.has(c.value)).map((c): Row => ({ id: c.value, title: c.value, why: '', severity: 'info', technique: '', on: [], where: '', found: c.count, own: true }))
    return [...builtin, ...others].sort((a, b) => b.found - a.found)
  }, [data, counts])
  if (error) return <Broken error={error} onRetry={() => void refetch()} />
  if (isPending) return <Skeleton lines={14} />
  return (
    <>
      <p className={css.note}>{t.kernel.rulesOf}</p>
      <DataTable label={t.kernel.rules} rows={rows} columns={columns} rowKey={(r) => r.id} sort={url.sort ? parseSort(url.sort, '') : undefined} onSort={(sort) => set({ sort }, { replace: true })} virtual />
    </>
  )
}

function ruleColumns(t: Texts, onRule: (id: string) => void): Column<Row>[] {
  const titleOf = (r: Row) => t.kernel.ruleTitle[r.id] ?? r.title
  return [
    {
      key: 'found', head: t.kernel.found, width: '72px', align: 'end', sort: (r) => r.found,
      cell: (r) =>
        r.found > 0 ? (
          <button type="button" className={css.figure} title={t.kernel.sameRule} onClick={() => onRule(r.id)}>
            {t.count(r.found)}
          </button>
        ) : (
          <span className="dim">0</span>
        ),
    },
    { key: 'severity', head: t.kernel.atLeast, width: '92px', cell: (r) => (r.own ? <span className="dim" title={t.kernel.ownRule}>–</span> : <AuditSeverity name={r.severity} />), sort: (r) => (r.own ? -1 : auditSeverities.indexOf(r.severity)) },
    { key: 'title', head: t.kernel.rule, width: 'minmax(200px, 3fr)', cell: (r) => <span title={[titleOf(r), r.why].filter(Boolean).join('\n')}>{titleOf(r)}</span>, sort: titleOf },
    { key: 'id', head: 'Id', width: 'minmax(120px, 1.5fr)', cell: (r) => <span className="mono dim" title={r.id}>{r.id}</span>, sort: (r) => r.id },
    { key: 'on', head: t.kernel.on, width: '120px', cell: (r) => `${r.on.join(', ')}` },
    { key: 'where', head: t.kernel.container, width: '88px', cell: (r) => <span className="dim">{t.kernel.where[r.where]}</span> },
    {
      key: 'technique', head: t.kernel.technique, width: '92px', sort: (r) => r.technique,
      cell: (r) => {
        const address = attackAddress(r.technique)
        return address ? (
          <a className={`${css.external} mono`} href={address} target="_blank" rel="noreferrer" aria-label={t.kernel.attack(r.technique)}>
            {r.technique}
          </a>
        ) : (
          r.technique
        )
      },
    },
  ]
}
