import { useQueries } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useMemo } from 'react'
import { jobOf, queryRange, type Series, stepFor } from '../../api/prometheus'
import { align } from '../../components/chart/align'
import { TimeChart } from '../../components/chart/TimeChart'
import { absolute } from '../../state/range'
import { type Texts, useTexts } from '../../state/texts'
import { keepRange, useQuestion, useSetUrl } from '../../state/url'
import { bytes, rate, si } from '../../state/units'
import { Tile } from './Golden'
import css from './ServicePage.module.css'

interface Gauge {
  title: (t: Texts) => string
  expr: (match: string) => string
  format: (v: number) => string
}

/** Runtime metrics by their names in the semantic conventions. */
const gauges: Gauge[] = [
  { title: (t) => t.service.cpu, expr: (m) => `sum by (instance) (rate(process_cpu_time_seconds_total{${m}}[5m]))`, format: rate },
  { title: (t) => t.service.memory, expr: (m) => `sum by (instance) (go_memory_used_bytes{${m}})`, format: bytes },
  { title: (t) => t.service.goroutines, expr: (m) => `sum by (instance) (go_goroutine_count{${m}})`, format: si },
  // The SDK's own count of spans, log records and points that did not get here.
  { title: (t) => t.service.lost, expr: (m) => `sum by (instance) (rate({__name__=~"otel_sdk_(processor|exporter)_.+_total",error_type!="",${m}}[5m]))`, format: rate },
]

/** What the process tells of itself; left out when it tells nothing. */
export function Process({ name }: { name: string }) {
  const t = useTexts()
  const { start, end } = useQuestion()
  const match = jobOf(name)
  const answers = useQueries({ queries: gauges.map((g) => queryRange({ start, end }, g.expr(match))) })
  const told = gauges.map((g, i) => ({ g, series: answers[i]!.data?.series ?? [] })).filter((x) => x.series.length > 0)
  if (told.length === 0) return null
  return (
    <section className={css.section}>
      <h2>{t.service.process}</h2>
      <div className={css.charts}>
        {told.map(({ g, series }) => (
          <Tile
            key={g.title(t)}
            title={g.title(t)}
            value={
              <Link to="/metrics" search={(last) => ({ ...keepRange(last), expr: g.expr(match) })}>
                {g.format(series.reduce((sum, s) => sum + (s.points.at(-1)?.[1] ?? 0), 0))}
              </Link>
            }
          >
            <Chart label={g.title(t)} series={series} format={g.format} start={start} end={end} />
          </Tile>
        ))}
      </div>
    </section>
  )
}

function Chart({ label, series, format, start, end }: { label: string; series: Series[]; format: (v: number) => string; start: number; end: number }) {
  const set = useSetUrl()
  const { times, lines } = useMemo(() => align(series, stepFor(start, end)), [series, start, end])
  return <TimeChart label={label} times={times} lines={lines} start={start} end={end} format={format} sync="service" height={120} onBrush={(a, b) => set(absolute({ start: a, end: b }))} />
}
