import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useMemo, useRef, useState } from 'react'
import { ApiError } from '../../api/client'
import { exemplars, queryRange, type Series, seriesName, stepFor } from '../../api/prometheus'
import { Button } from '../../components/Button'
import { align } from '../../components/chart/align'
import { type Dot, TimeChart } from '../../components/chart/TimeChart'
import { HeatMap } from '../../components/heat/HeatMap'
import { Broken, Busy, Empty, Skeleton } from '../../components/States'
import { useSize } from '../../components/useSize'
import { absolute, formatSpan } from '../../state/range'
import { useTexts } from '../../state/texts'
import { keepRange, useQuestion, useSetUrl } from '../../state/url'
import { si } from '../../state/units'
import { gridOf } from './native'
import { formatOf } from './promql'
import { SeriesTable } from './SeriesTable'
import css from './MetricsPage.module.css'

/** More lines cannot be told apart, and slow the chart down. */
const mostLines = 60
/** More dots hide the lines. */
const mostDots = 150
const chartHeight = 300

export interface Point {
  series: Series
  at: number
}

/** What the query answers: lines with exemplars, or a heat map. */
export function Result({ expr, onPick }: { expr: string; onPick: (p: Point) => void }) {
  const t = useTexts()
  const { start, end } = useQuestion()
  const step = stepFor(start, end)
  const { data, error, refetch, isPending, isFetching } = useQuery(queryRange({ start, end }, expr, step))
  if (error) {
    // A mistake in the query is the reader's to mend; the server says where.
    if (error instanceof ApiError && (error.status === 400 || error.status === 422)) return <Empty title={t.metrics.explain} hint={error.message} />
    return <Broken error={error} onRetry={() => void refetch()} />
  }
  if (isPending) return <Skeleton lines={12} />
  const histograms = data.series.filter((s) => s.histograms && s.histograms.length > 0)
  return (
    <>
      <Busy on={isFetching} />
      {data.warnings.map((w) => (
        <p key={w} className={css.warnings}>
          {w}
        </p>
      ))}
      {data.series.length === 0 ? (
        <Empty title={t.metrics.empty} hint={t.metrics.emptyHint} />
      ) : histograms.length > 0 ? (
        <Heat series={histograms} expr={expr} step={step} />
      ) : (
        <Lines series={data.series} expr={expr} step={step} onPick={onPick} />
      )}
    </>
  )
}

function Lines({ series, expr, step, onPick }: { series: Series[]; expr: string; step: number; onPick: (p: Point) => void }) {
  const t = useTexts()
  const set = useSetUrl()
  const navigate = useNavigate()
  const { start, end } = useQuestion()
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set())
  const [showDots, setShowDots] = useState(true)
  const format = useMemo(() => formatOf(expr), [expr])
  const { data: examples } = useQuery(exemplars({ start, end }, expr))
  const drawn = useMemo(() => series.slice(0, mostLines), [series])
  const { times, lines } = useMemo(() => align(drawn, step), [drawn, step])
  const visible = useMemo(() => lines.map((l) => (hidden.has(l.name) ? { ...l, values: l.values.map(() => null) } : l)), [lines, hidden])
  const dots = useMemo((): Dot[] => {
    const list = examples ?? []
    const every = Math.max(1, Math.ceil(list.length / mostDots))
    return list
      .filter((_, i) => i % every === 0)
      .map((e) => ({
        at: e.time * 1000,
        value: e.value,
        label: t.metrics.openExemplar(format(e.value)),
        onOpen: () => void navigate({ to: '/traces/$traceId', params: { traceId: e.traceId }, search: (last) => ({ ...keepRange(last), near: String(Math.round(e.time * 1000)), span: e.labels.span_id || undefined }) }),
      }))
  }, [examples, format, navigate, t])
  const toggle = (name: string) => {
    const next = new Set(hidden)
    if (!next.delete(name)) next.add(name)
    setHidden(next)
  }
  return (
    <>
      <div className={css.chart}>
        <div className={css.chartHead}>
          <span>{series.length > mostLines ? t.metrics.cutSeries(mostLines, series.length) : t.metrics.series(series.length)}</span>
          <span>{t.metrics.step(formatSpan(step * 1000))}</span>
          <span className={css.spacer} />
          {dots.length > 0 && (
            <Button small aria-pressed={showDots} onClick={() => setShowDots(!showDots)}>
              {t.metrics.exemplarCount(dots.length)}
            </Button>
          )}
        </div>
        <TimeChart
          label={t.metrics.chartLabel(series.length)}
          times={times}
          lines={visible}
          start={start}
          end={end}
          format={format}
          height={chartHeight}
          dots={showDots ? dots : []}
          onBrush={(a, b) => set(absolute({ start: a, end: b }))}
          onPick={(i, at) => onPick({ series: drawn[i]!, at })}
        />
      </div>
      <div className={css.table}>
        <SeriesTable lines={lines} hidden={hidden} onToggle={toggle} format={format} />
      </div>
    </>
  )
}

function Heat({ series, expr, step }: { series: Series[]; expr: string; step: number }) {
  const t = useTexts()
  const set = useSetUrl()
  const { start, end } = useQuestion()
  const [at, setAt] = useState(0)
  const host = useRef<HTMLDivElement>(null)
  const { height } = useSize(host)
  const chosen = series[at] ?? series[0]!
  const grid = useMemo(() => gridOf(chosen, start, end, step), [chosen, start, end, step])
  // The values are those of the buckets, whatever is done to them.
  const format = useMemo(() => formatOf(`histogram_quantile(0, ${expr})`), [expr])
  return (
    <div className={css.heat} ref={host}>
      <div className={css.chartHead}>
        <span>{t.metrics.histogram}</span>
        <span>{t.metrics.step(formatSpan(step * 1000))}</span>
        {series.length > 1 && (
          <select aria-label={t.metrics.name} value={at} onChange={(e) => setAt(Number(e.target.value))}>
            {series.map((s, i) => (
              <option key={i} value={i}>
                {seriesName(s.labels)}
              </option>
            ))}
          </select>
        )}
      </div>
      {height > 0 && <HeatMap label={t.metrics.histogram} grid={grid} format={format} countText={si} height={Math.max(200, Math.min(480, height - 60))} onBox={(b) => b && set(absolute(b))} />}
    </div>
  )
}
