import { useMemo } from 'react'
import { type Column, DataTable } from '../../components/DataTable'
import { ServiceName } from '../../components/Mark'
import { type Texts, useTexts } from '../../state/texts'
import { parseSort, useSetUrl, useUrl } from '../../state/url'
import { duration, percent } from '../../state/units'
import { type Model, type Sum, sums } from './model'
import css from './TracePage.module.css'

/** Spans by operation; a row opens the longest of them. */
export function SpanTable({ model, onChoose }: { model: Model; onChoose: (spanId: string) => void }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const rows = useMemo(() => sums(model), [model])
  const columns = useMemo(() => sumColumns(t, model.critical), [t, model.critical])
  return (
    <DataTable
      label={t.trace.table}
      rows={rows}
      columns={columns}
      rowKey={(s) => s.key}
      sort={parseSort(url.sort, '-self')}
      onSort={(sort) => set({ sort }, { replace: true })}
      onOpen={(s) => onChoose(s.longest)}
      virtual
      keys
    />
  )
}

function sumColumns(t: Texts, critical: number): Column<Sum>[] {
  return [
    { key: 'service', head: t.services.name, width: 'minmax(110px, 1fr)', sort: (s) => s.service, cell: (s) => <ServiceName name={s.service} link={false} /> },
    { key: 'name', head: t.service.operation, width: 'minmax(160px, 2fr)', sort: (s) => s.name, cell: (s) => <span title={s.name}>{s.name}</span> },
    { key: 'count', head: t.trace.count, width: '72px', align: 'end', sort: (s) => s.count, cell: (s) => t.count(s.count) },
    { key: 'errors', head: t.signal.errors, width: '72px', align: 'end', sort: (s) => s.errors, cell: (s) => <span className={s.errors > 0 ? css.bad : 'dim'}>{t.count(s.errors)}</span> },
    { key: 'self', head: t.trace.self, width: '96px', align: 'end', sort: (s) => s.self, cell: (s) => duration(s.self) },
    { key: 'total', head: t.trace.total, width: '96px', align: 'end', sort: (s) => s.total, cell: (s) => duration(s.total) },
    { key: 'average', head: t.trace.average, width: '96px', align: 'end', sort: (s) => s.total / s.count, cell: (s) => duration(s.total / s.count) },
    { key: 'max', head: t.trace.maximum, width: '96px', align: 'end', sort: (s) => s.max, cell: (s) => duration(s.max) },
    { key: 'critical', head: t.trace.critical, width: '104px', align: 'end', sort: (s) => s.critical, cell: (s) => (critical > 0 ? percent(s.critical / critical) : '–') },
  ]
}
