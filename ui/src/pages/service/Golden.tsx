import { Link } from '@tanstack/react-router'
import { type ReactNode, useMemo } from 'react'
import type { Schemas } from '../../api/client'
import { type Line, TimeChart } from '../../components/chart/TimeChart'
import { Mark } from '../../components/Mark'
import type { Condition } from '../../state/filter'
import { absolute, parseTime } from '../../state/range'
import { useTexts } from '../../state/texts'
import { useSetUrl } from '../../state/url'
import { duration, percent, rate } from '../../state/units'
import { tracesOf } from '../services/columns'
import css from './ServicePage.module.css'

type Detail = Schemas['ServiceDetail']

/** Rate, errors and latency of what the service is asked for. */
export function Golden({ data }: { data: Detail }) {
  const t = useTexts()
  const chart = useMemo(() => series(data), [data])
  const own: Condition[] = [{ field: 'service.name', op: '=', value: data.name }]
  const failed: Condition[] = [...own, { field: 'status', op: '=', value: 'error' }]
  return (
    <section className={css.section}>
      <h2 className="hidden-text">{t.service.golden}</h2>
      <div className={css.charts}>
        <Tile
          title={t.signal.rate}
          value={
            <Link to="/traces" search={tracesOf(own)}>
              {rate(data.rate)} {t.units.perSecond}
            </Link>
          }
          mark={data.stored > 0 && data.count > data.stored * 1.01 ? <Mark reason={t.mark.estimated(data.stored)}>{t.mark.sampled}</Mark> : null}
        >
          <Chart {...chart} label={t.signal.rate} lines={[{ name: t.signal.rate, values: chart.rate, colour: 'accent', area: true }]} format={rate} />
        </Tile>
        <Tile
          title={t.signal.errorRate}
          value={
            <Link to="/traces" search={tracesOf(failed)} className={data.errorRate >= 0.01 ? css.bad : undefined}>
              {percent(data.errorRate)}
            </Link>
          }
        >
          <Chart {...chart} label={t.signal.errorRate} lines={[{ name: t.signal.errorRate, values: chart.errors, colour: 'bad', area: true }]} format={percent} />
        </Tile>
        <Tile title={t.signal.durations} value={`P95 ${duration(data.p95)}`} mark={<span className="dim">{`P50 ${duration(data.p50)} · P99 ${duration(data.p99)}`}</span>}>
          <Chart {...chart} label={t.signal.durations} lines={[{ name: 'P95', values: chart.p95, colour: 'accent' }]} format={duration} />
        </Tile>
      </div>
    </section>
  )
}

export function Tile({ title, value, mark, children }: { title: string; value: ReactNode; mark?: ReactNode; children: ReactNode }) {
  return (
    <div className={css.tile}>
      <div className={css.tileHead}>
        <h3>{title}</h3>
        {mark}
        <span className={css.value}>{value}</span>
      </div>
      {children}
    </div>
  )
}

interface ChartProps {
  label: string
  times: number[]
  lines: Line[]
  start: number
  end: number
  format: (v: number) => string
}

function Chart({ label, times, lines, start, end, format }: ChartProps) {
  const set = useSetUrl()
  return <TimeChart label={label} times={times} lines={lines} start={start} end={end} format={format} sync="service" height={140} onBrush={(a, b) => set(absolute({ start: a, end: b }))} />
}

/** The sparks with their times: each point stands in the middle of its step. */
function series(data: Detail) {
  const start = parseTime(data.start)
  const step = data.stepNs / 1e6
  const { rate: rates, errors, p95 } = data.spark
  return {
    start,
    end: start + step * rates.length,
    times: rates.map((_, i) => start + (i + 0.5) * step),
    rate: rates,
    errors: rates.map((r, i) => (r > 0 ? errors[i]! / r : null)),
    p95: p95.map((v) => (v < 0 ? null : v)),
  }
}
