import { type KeyboardEvent, type PointerEvent, useMemo, useRef, useState } from 'react'
import type { Schemas } from '../api/client'
import { isSeverity, Severity, severities, severityColour, type SeverityName } from './Mark'
import { useSize } from './useSize'
import { useDates } from '../state/dates'
import { parseTime } from '../state/range'
import { linearTicks, timeTicks } from '../state/ticks'
import { useTexts } from '../state/texts'
import { si } from '../state/units'
import css from './Volume.module.css'

const height = 72

interface Props {
  volume: Schemas['LogVolume']
  onRange: (start: number, end: number) => void
  onSeverity: (severity: SeverityName) => void
}

/** Records over time, severe ones at the bottom where bars can be compared. */
export function Volume({ volume, onRange, onSeverity }: Props) {
  const t = useTexts()
  const dates = useDates()
  const host = useRef<HTMLDivElement>(null)
  const { width } = useSize(host)
  const [hover, setHover] = useState<number>()
  const [drag, setDrag] = useState<readonly [number, number]>()
  const { series, totals, most } = useMemo(() => stack(volume), [volume])
  const start = parseTime(volume.start)
  const step = volume.stepNs / 1e6
  const end = start + step * volume.columns
  const columnWidth = width / volume.columns
  const y = (n: number) => (n / most) * (height - 4)

  const column = (e: PointerEvent) => {
    const r = host.current!.getBoundingClientRect()
    return Math.min(volume.columns - 1, Math.max(0, Math.floor((e.clientX - r.left) / columnWidth)))
  }
  const choose = (a: number, b: number) => onRange(start + Math.min(a, b) * step, start + (Math.max(a, b) + 1) * step)
  const onKeyDown = (e: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key]
    if (by) {
      e.preventDefault()
      e.stopPropagation()
      setHover((h) => Math.min(volume.columns - 1, Math.max(0, (h ?? (by > 0 ? -1 : volume.columns)) + by)))
    } else if (e.key === 'Enter' && hover !== undefined) {
      e.preventDefault()
      choose(hover, hover)
    }
  }
  // Without any record the server tells no times either.
  const ticks = end > start ? timeTicks(start, end, Math.max(2, width / 100), dates.offset(start)) : { ticks: [], step: 0 }
  const x = (ms: number) => ((ms - start) / (end - start)) * width
  return (
    <>
      <div className={css.legend}>
        {series.map((s) => (
          <button key={s.severity} type="button" onClick={() => onSeverity(s.severity)}>
            <span className={css.swatch} style={{ background: severityColour[s.severity] }} />
            {t.severity[s.severity]} <span className="dim">{t.count(s.sum)}</span>
          </button>
        ))}
      </div>
      <div className={css.volume}>
        <div className={css.axis}>
          {linearTicks(0, most, 2).map((n) => (
            <span key={n} style={{ top: height - y(n) }}>
              {si(n)}
            </span>
          ))}
        </div>
        <div
          ref={host}
          className={css.plane}
          role="application"
          aria-label={`${t.logs.volume}. ${t.logs.volumeHelp}`}
          tabIndex={0}
          onPointerDown={(e) => {
            if (e.button !== 0) return
            e.currentTarget.setPointerCapture(e.pointerId)
            setDrag([column(e), column(e)])
          }}
          onPointerMove={(e) => {
            setHover(column(e))
            if (drag) setDrag([drag[0], column(e)])
          }}
          onPointerUp={() => {
            if (drag && (drag[0] !== drag[1] || totals[drag[0]]! > 0)) choose(...drag)
            setDrag(undefined)
          }}
          onPointerLeave={() => setHover(undefined)}
          onKeyDown={onKeyDown}
          onBlur={() => setHover(undefined)}
        >
          <svg width={width} height={height} aria-hidden="true">
            {hover !== undefined && <rect className={css.hover} x={hover * columnWidth} y={0} width={columnWidth} height={height} />}
            {series.map((s) => (
              <path key={s.severity} fill={severityColour[s.severity]} d={bars(s, columnWidth, y)} />
            ))}
          </svg>
          {drag && <div className={css.brush} style={{ left: Math.min(...drag) * columnWidth, width: (Math.abs(drag[1] - drag[0]) + 1) * columnWidth }} />}
          {hover !== undefined && totals[hover]! > 0 && !drag && (
            <div className={css.tip} style={hover * columnWidth > width / 2 ? { right: width - hover * columnWidth + 8 } : { left: (hover + 1) * columnWidth + 8 }} aria-live="polite">
              <div className="dim">{dates.moment(start + hover * step)}</div>
              {series
                .filter((s) => s.counts[hover]! > 0)
                .map((s) => (
                  <div key={s.severity}>
                    <Severity name={s.severity} />
                    <span>{t.count(s.counts[hover]!)}</span>
                  </div>
                ))}
            </div>
          )}
        </div>
        <div className={css.x}>
          {ticks.ticks.map((ms) => (
            <span key={ms} style={{ left: Math.min(width - 20, Math.max(20, x(ms))) }}>
              {dates.tick(ms, ticks.step)}
            </span>
          ))}
        </div>
      </div>
    </>
  )
}

interface Stacked {
  severity: SeverityName
  counts: readonly number[]
  /** What is below, by column. */
  below: readonly number[]
  sum: number
}

/** Series from the most severe at the bottom upwards. */
export function stack(volume: Pick<Schemas['LogVolume'], 'columns' | 'series'>): { series: Stacked[]; totals: number[]; most: number } {
  const totals: number[] = Array.from({ length: volume.columns }, () => 0)
  const series: Stacked[] = []
  for (const severity of severities) {
    const found = volume.series.filter((s) => (isSeverity(s.severity) ? s.severity : 'unset') === severity)
    if (found.length === 0) continue
    const counts = totals.map((_, i) => found.reduce((sum, s) => sum + (s.counts[i] ?? 0), 0))
    const sum = counts.reduce((a, b) => a + b, 0)
    if (sum === 0) continue
    series.push({ severity, counts, below: [...totals], sum })
    counts.forEach((n, i) => (totals[i]! += n))
  }
  return { series, totals, most: Math.max(1, ...totals) }
}

/** All bars of a severity as one path. */
function bars(s: Stacked, width: number, y: (n: number) => number): string {
  const gap = width > 4 ? 1 : 0
  return s.counts
    .map((n, i) => (n === 0 ? '' : `M${(i * width).toFixed(2)} ${(height - y(s.below[i]!)).toFixed(2)}h${(width - gap).toFixed(2)}v${(-Math.max(1, y(n))).toFixed(2)}h${(gap - width).toFixed(2)}z`))
    .join('')
}
