import { useState } from 'react'
import { type Column, DataTable } from '../../components/DataTable'
import { Empty } from '../../components/States'
import { useTexts } from '../../state/texts'
import { type Family, operationsOf, write } from './promql'
import css from './MetricsPage.module.css'

/** All metrics; one is shown the way its kind is looked at most. */
export function Browse({ metrics, onQuery }: { metrics: readonly Family[]; onQuery: (expr: string) => void }) {
  const t = useTexts()
  const [find, setFind] = useState('')
  const words = find.toLowerCase().split(/\s+/)
  const rows = metrics.filter((m) => words.every((w) => m.name.toLowerCase().includes(w) || m.help.toLowerCase().includes(w)))
  const columns: Column<Family>[] = [
    { key: 'name', head: t.metrics.metric, width: 'minmax(260px, 2fr)', cell: (m) => <span className="mono">{m.name}</span> },
    { key: 'kind', head: t.service.kind, width: '110px', cell: (m) => t.metrics.kinds[m.kind] },
    { key: 'help', head: t.metrics.help, width: 'minmax(200px, 3fr)', cell: (m) => <span title={m.help}>{m.help}</span> },
  ]
  return (
    <div className={css.browse}>
      <div className={css.browseHead}>
        <h2>{t.metrics.start}</h2>
        <input className={css.find} type="search" value={find} placeholder={t.metrics.findMetric} aria-label={t.metrics.findMetric} onChange={(e) => setFind(e.target.value)} />
      </div>
      <DataTable
        label={t.metrics.browse}
        rows={rows}
        columns={columns}
        rowKey={(m) => m.name}
        onOpen={(m) => onQuery(write({ metric: m.name, kind: m.kind, operation: operationsOf[m.kind][0]!, matchers: [], by: [] }))}
        virtual
        keys
        foot={rows.length === 0 && <Empty title={t.palette.noMatch} />}
      />
    </div>
  )
}
