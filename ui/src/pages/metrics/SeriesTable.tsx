import { useMemo } from 'react'
import type { Line } from '../../components/chart/TimeChart'
import { type Column, DataTable } from '../../components/DataTable'
import { useTexts } from '../../state/texts'
import { parseSort, useSetUrl, useUrl } from '../../state/url'
import css from './MetricsPage.module.css'

interface Summary {
  line: Line
  last: number
  min: number
  max: number
  mean: number
}

/** The series with their figures; a row shows or hides its line. */
export function SeriesTable({ lines, hidden, onToggle, format }: { lines: readonly Line[]; hidden: ReadonlySet<string>; onToggle: (name: string) => void; format: (v: number) => string }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const rows = useMemo(() => lines.map(summarise), [lines])
  const figure = (key: 'last' | 'min' | 'max' | 'mean', head: string): Column<Summary> => ({
    key, head, width: '112px', align: 'end', sort: (s) => s[key], cell: (s) => (Number.isFinite(s[key]) ? format(s[key]) : '–'),
  })
  const columns: Column<Summary>[] = [
    {
      key: 'name', head: t.metrics.name, width: 'minmax(240px, 1fr)', sort: (s) => s.line.name,
      cell: (s) => (
        <button type="button" className={`${css.name} ${hidden.has(s.line.name) ? css.off : ''}`} aria-pressed={!hidden.has(s.line.name)} title={t.metrics.toggle(s.line.name)} onClick={() => onToggle(s.line.name)}>
          <span className={css.swatch} style={{ background: `var(--${s.line.colour})` }} />
          <span>{s.line.name}</span>
        </button>
      ),
    },
    figure('last', t.metrics.last),
    figure('min', t.metrics.min),
    figure('mean', t.metrics.mean),
    figure('max', t.metrics.max),
  ]
  return <DataTable label={t.metrics.name} rows={rows} columns={columns} rowKey={(s) => s.line.name} sort={url.sort ? parseSort(url.sort, '') : undefined} onSort={(sort) => set({ sort }, { replace: true })} virtual keys onOpen={(s) => onToggle(s.line.name)} />
}

function summarise(line: Line): Summary {
  const values = line.values.filter((v) => v !== null)
  return {
    line,
    last: values.at(-1) ?? NaN,
    min: Math.min(...values),
    max: Math.max(...values),
    mean: values.length > 0 ? values.reduce((a, b) => a + b, 0) / values.length : NaN,
  }
}
