import { useQuery } from '@tanstack/react-query'
import { useMemo } from 'react'
import type { Schemas } from '../../api/client'
import { auditRules } from '../../api/kernel'
import { Facts, Section } from '../../components/Attributes'
import { Button } from '../../components/Button'
import { type Column, DataTable } from '../../components/DataTable'
import { Mark } from '../../components/Mark'
import { SidePanel } from '../../components/SidePanel'
import { Broken, Empty, Skeleton } from '../../components/States'
import { formatFilter } from '../../state/filter'
import { type Texts, useTexts } from '../../state/texts'
import { parseSort, type Search, useQuestion, useSetUrl, useUrl } from '../../state/url'
import { attackAddress, auditSeverities, ruleCondition } from './audit'
import { AuditSeverity } from './AuditPage'
import css from './Kernel.module.css'

type Rule = Schemas['AuditRule']
type Found = readonly { value: string; count: number }[]

interface Row extends Rule {
  key: string
  found: number
  /** Only findings tell of it. */
  unknown: boolean
}

/** Rules in force with how often each was met, and those that are only known from findings. */
function rowsOf(rules: readonly Rule[], counts: Found): Row[] {
  const found = new Map(counts.map((c) => [c.value, c.count]))
  // A rule that hosts have in several forms is there several times.
  const told = rules.map((r): Row => ({ ...r, key: [r.id, r.source, r.enabled, r.hosts[0]].join('\0'), found: found.get(r.id) ?? 0, unknown: false }))
  const known = new Set(rules.map((r) => r.id))
  const others = counts
    .filter((c) => !known.has(c.value))
    .map((c): Row => ({ key: c.value, id: c.value, title: c.value, why: '', severity: 'info', technique: '', on: [], in: '', looksFor: '', unless: [], source: '', enabled: true, hosts: [], found: c.count, unknown: true }))
  return [...told, ...others].sort((a, b) => b.found - a.found)
}

const ofRule = (id: string): Search => ({ q: formatFilter([ruleCondition(id)]), view: undefined, rule: undefined })

const titleOf = (t: Texts, r: Rule) => t.kernel.ruleTitle[r.id] ?? r.title

function sourceOf(t: Texts, r: Pick<Row, 'source' | 'unknown'>): string {
  return r.unknown ? t.common.unknown : r.source ? r.source.split('/').pop()! : t.kernel.builtin
}

export function Rules({ counts }: { counts: Found }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const { data, error, refetch, isPending } = useQuery(auditRules(useQuestion()))
  const hosts = data?.hosts.length ?? 0
  const columns = useMemo(() => ruleColumns(t, hosts, (id) => set(ofRule(id))), [t, hosts, set])
  const rows = useMemo(() => rowsOf(data?.rules ?? [], counts), [data, counts])
  if (error) return <Broken error={error} onRetry={() => void refetch()} />
  if (isPending) return <Skeleton lines={14} />
  return (
    <>
      <p className={css.note} title={data.hosts.join('\n')}>
        {hosts === 0 ? t.kernel.rulesOf : t.kernel.rulesTold(rows.filter((r) => r.enabled).length, hosts, data.hosts[0]!)}
      </p>
      <DataTable
        label={t.kernel.rules}
        rows={rows}
        columns={columns}
        rowKey={(r) => r.key}
        selected={url.rule}
        onOpen={(r) => set({ rule: r.key, log: undefined })}
        sort={url.sort ? parseSort(url.sort, '') : undefined}
        onSort={(sort) => set({ sort }, { replace: true })}
        virtual
        keys
      />
    </>
  )
}

function ruleColumns(t: Texts, hosts: number, onRule: (id: string) => void): Column<Row>[] {
  return [
    {
      key: 'found', head: t.kernel.found, width: '64px', align: 'end', sort: (r) => r.found,
      cell: (r) =>
        r.found > 0 ? (
          <button type="button" className={css.figure} title={t.kernel.sameRule} onClick={(e) => (e.stopPropagation(), onRule(r.id))}>
            {t.count(r.found)}
          </button>
        ) : (
          <span className="dim">0</span>
        ),
    },
    { key: 'severity', head: t.kernel.atLeast, width: '92px', cell: (r) => (r.unknown ? <span className="dim" title={t.kernel.ownRule}>–</span> : <AuditSeverity name={r.severity} />), sort: (r) => (r.unknown ? -1 : auditSeverities.indexOf(r.severity)) },
    { key: 'title', head: t.kernel.rule, width: 'minmax(220px, 4fr)', cell: (r) => <span className={r.enabled ? undefined : 'dim'} title={[titleOf(t, r), r.why].filter(Boolean).join('\n')}>{titleOf(t, r)}</span>, sort: (r) => titleOf(t, r) },
    { key: 'state', head: t.kernel.inForce, width: '92px', cell: (r) => <InForce rule={r} hosts={hosts} />, sort: (r) => (r.enabled ? r.hosts.length : -1) },
    { key: 'source', head: t.kernel.ruleSource, width: 'minmax(72px, 1fr)', cell: (r) => <span className={r.source ? 'mono' : 'dim'} title={r.source || t.kernel.builtinHint}>{sourceOf(t, r)}</span>, sort: (r) => r.source },
    {
      key: 'on', head: t.kernel.on, width: 'minmax(120px, 1.4fr)',
      cell: (r) => (
        <span title={r.looksFor}>
          {r.on.join(', ')} {!r.unknown && <span className="dim">{t.kernel.where[r.in]}</span>}
        </span>
      ),
    },
    { key: 'technique', head: t.kernel.technique, width: '92px', sort: (r) => r.technique, cell: (r) => <Technique id={r.technique} /> },
  ]
}

function InForce({ rule: r, hosts }: { rule: Row; hosts: number }) {
  const t = useTexts()
  if (r.unknown) return <span className="dim" title={t.kernel.ownRule}>–</span>
  if (!r.enabled) return <Mark kind="warn" reason={t.kernel.disabledBy(r.hosts.join(', '))}>{t.kernel.disabled}</Mark>
  if (r.hosts.length < hosts) return <span title={r.hosts.join('\n')}>{t.kernel.onHosts(r.hosts.length, hosts)}</span>
  return <span className="dim">{hosts === 0 ? '–' : hosts === 1 ? t.kernel.yes : t.kernel.onAll}</span>
}

function Technique({ id }: { id: string }) {
  const t = useTexts()
  const address = attackAddress(id)
  return address ? (
    <a className={`${css.external} mono`} href={address} target="_blank" rel="noreferrer" aria-label={t.kernel.attack(id)} onClick={(e) => e.stopPropagation()}>
      {id}
    </a>
  ) : (
    id
  )
}

/** All that a rule says. */
export function RulePanel({ counts }: { counts: Found }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const { data, error, refetch, isPending } = useQuery(auditRules(useQuestion()))
  const r = rowsOf(data?.rules ?? [], counts).find((x) => x.key === url.rule)
  const onClose = () => set({ rule: undefined })
  if (!r)
    return (
      <SidePanel title={t.kernel.rule} onClose={onClose}>
        {error ? <Broken compact error={error} onRetry={() => void refetch()} /> : isPending ? <Skeleton /> : <Empty compact title={t.state.noMatch} />}
      </SidePanel>
    )
  return (
    <SidePanel title={r.unknown ? r.id : <AuditSeverity name={r.severity} />} onClose={onClose} wide>
      <p className={css.text}>{titleOf(t, r)}</p>
      {r.why && <p className="dim">{r.why}</p>}
      {r.unknown && <p className="dim">{t.kernel.ownRule}</p>}
      {r.found > 0 && (
        <div className={css.jump}>
          <Button small icon="filter" onClick={() => set(ofRule(r.id))}>
            {t.kernel.foundTimes(r.found)}
          </Button>
        </div>
      )}
      <Facts
        facts={[
          ['Id', <span key="i" className="mono">{r.id}</span>],
          [t.kernel.technique, r.technique && <Technique key="t" id={r.technique} />],
          [t.kernel.ruleSource, !r.unknown && (r.source ? <span key="s" className="mono">{r.source}</span> : t.kernel.builtinHint)],
          [t.kernel.inForce, !r.unknown && (r.enabled ? (r.hosts.length > 0 ? t.kernel.yes : '') : t.kernel.disabled)],
          [t.kernel.hosts, r.hosts.join(', ')],
          [t.kernel.on, r.on.join(', ')],
          [t.kernel.whereTitle, t.kernel.where[r.in]],
        ]}
      />
      {r.looksFor && (
        <Section title={t.kernel.looksFor}>
          <p className={css.condition}>{r.looksFor}</p>
        </Section>
      )}
      {r.unless.length > 0 && (
        <Section title={t.kernel.unless}>
          {r.unless.map((u) => (
            <p key={u} className={css.condition}>
              {u}
            </p>
          ))}
        </Section>
      )}
    </SidePanel>
  )
}
