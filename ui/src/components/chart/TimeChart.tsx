// Lines over time: uPlot, in our colours, with a tip, a brush that narrows the
// time range, and exemplars as dots that open their trace.

import 'uplot/dist/uPlot.min.css'
import { type RefObject, useEffect, useMemo, useRef, useState } from 'react'
import uPlot from 'uplot'
import { themeColours } from '../../state/colour'
import { type Dates, useDates } from '../../state/dates'
import { useDark } from '../../state/preferences'
import { binaryTicks, linearTicks, timeTicks } from '../../state/ticks'
import { bytes } from '../../state/units'
import css from './TimeChart.module.css'

export interface Line {
  name: string
  /** One a time; null is a gap. */
  values: readonly (number | null)[]
  /** The name of a token: accent, bad, s3. */
  colour: string
  area?: boolean
  dashed?: boolean
}

export interface Dot {
  /** Unix milliseconds. */
  at: number
  value: number
  label: string
  onOpen: () => void
}

interface Props {
  label: string
  /** Unix milliseconds. */
  times: readonly number[]
  lines: readonly Line[]
  start: number
  end: number
  format: (v: number) => string
  height?: number
  dots?: readonly Dot[]
  /** Charts with the same key share their cursor. */
  sync?: string
  onBrush?: (start: number, end: number) => void
  /** A click near a line. */
  onPick?: (line: number, at: number) => void
}

interface Hover {
  left: number
  /** Of the chart. */
  width: number
  index: number
  near: number
}

/** More lines than this in a tip hide the chart. */
const tipLines = 10

export function TimeChart(p: Props) {
  const host = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>(undefined)
  const latest = useRef(p)
  useEffect(() => {
    latest.current = p
  })
  const [hover, setHover] = useState<Hover>()
  const [places, setPlaces] = useState<readonly (Place | undefined)[]>([])
  const dates = useDates()
  const dark = useDark()
  const height = p.height ?? 160
  const shape = p.lines.map((l) => `${l.name}\0${l.colour}\0${l.area}`).join('\n')
  const data = useMemo(() => [[...p.times], ...p.lines.map((l) => [...l.values])] as uPlot.AlignedData, [p.times, p.lines])

  useEffect(() => {
    const el = host.current!
    const u = new uPlot(options(latest, { width: el.clientWidth || 400, height, dates, onHover: setHover, onDraw: (chart) => setPlaces(placeDots(chart, latest.current)) }), data, el)
    plot.current = u
    const observer = new ResizeObserver(() => u.setSize({ width: el.clientWidth, height }))
    observer.observe(el)
    return () => {
      observer.disconnect()
      u.destroy()
      plot.current = undefined
      setHover(undefined)
    }
    // eslint-disable-next-line react-hooks/exhaustive-deps -- data is set below without building the chart anew
  }, [shape, height, dark, dates, p.sync])
  useEffect(() => {
    plot.current?.setData(data)
  }, [data, p.start, p.end])
  useEffect(() => plot.current?.redraw(false), [p.dots])

  return (
    <div className={css.chart} style={{ height }} role="group" aria-label={p.label}>
      <div ref={host} />
      {p.dots?.map((d, i) => {
        const at = places[i]
        return at && <button key={i} type="button" className={css.dot} style={at} title={d.label} aria-label={d.label} onClick={d.onOpen} />
      })}
      {hover && <ChartTip hover={hover} p={p} dates={dates} />}
    </div>
  )
}

interface Place {
  left: number
  top: number
}

/** Where the dots are; those out of the range are nowhere, those above the axis stick to the top. */
function placeDots(u: uPlot, { dots = [], start, end }: Props): (Place | undefined)[] {
  return dots.map((d) => {
    const left = u.valToPos(d.at, 'x') + u.over.offsetLeft
    const top = Math.max(0, u.valToPos(d.value, 'y')) + u.over.offsetTop
    return Number.isFinite(left + top) && d.at >= start && d.at <= end ? { left, top } : undefined
  })
}

function ChartTip({ hover, p, dates }: { hover: Hover; p: Props; dates: Dates }) {
  const at = p.times[hover.index]
  if (at === undefined) return null
  const shown = p.lines
    .map((l, i) => ({ line: l, i, value: l.values[hover.index] ?? null }))
    .filter((x) => x.value !== null)
    .sort((a, b) => Number(b.i === hover.near) - Number(a.i === hover.near) || b.value! - a.value!)
  if (shown.length === 0) return null
  // On the side of the cursor that has room.
  const side = hover.left > hover.width / 2 ? { right: hover.width - hover.left + 12, left: 'auto' } : { left: hover.left + 12 }
  return (
    <div className={css.tip} style={side}>
      <div className={css.when}>{dates.moment(at)}</div>
      {shown.slice(0, tipLines).map(({ line, i, value }) => (
        <div key={i} className={`${css.line} ${i === hover.near && p.lines.length > 1 ? css.near : ''}`}>
          <span className={css.swatch} style={{ background: `var(--${line.colour})` }} />
          <span>{line.name}</span>
          <span>{p.format(value!)}</span>
        </div>
      ))}
      {shown.length > tipLines && <div className={css.when}>+{shown.length - tipLines}</div>}
    </div>
  )
}

/** Points between two gaps: no line leads through them. */
function alone(u: uPlot, series: number): number[] {
  const values = u.data[series]!
  const gap = (i: number) => values[i] === null || values[i] === undefined
  return Array.from(values.keys()).filter((i) => !gap(i) && gap(i - 1) && gap(i + 1))
}

interface Setup {
  width: number
  height: number
  dates: Dates
  onHover: (h: Hover | undefined) => void
  onDraw: (u: uPlot) => void
}

function options(latest: RefObject<Props>, s: Setup): uPlot.Options {
  // The end of a drag is also a click.
  let brushed = false
  const colours = themeColours()
  const font = `11px ${colours.get('font')}`
  const axis = { stroke: colours.get('ink-3'), font, ticks: { show: false }, gap: 4 }
  return {
    width: s.width,
    height: s.height,
    ms: 1,
    legend: { show: false },
    padding: [8, 8, 0, 0],
    cursor: {
      drag: { x: true, y: false, setScale: false, dist: 4 },
      points: { size: 6, width: 0, fill: (_, i) => colours.get(latest.current.lines[i - 1]?.colour ?? 'accent') },
      y: false,
      focus: { prox: 24 },
      ...(latest.current.sync ? { sync: { key: latest.current.sync, scales: ['x', null] as [string, null] } } : {}),
    },
    focus: { alpha: 0.35 },
    scales: {
      x: { time: false, range: () => [latest.current.start, latest.current.end] },
      y: {
        range: (_, lo, hi) => {
          if (lo == null || hi == null || !Number.isFinite(lo + hi)) return [0, 1]
          const top = Math.max(hi, 0)
          const bottom = Math.min(lo, 0)
          return [bottom < 0 ? bottom - (top - bottom) * 0.05 : 0, top === bottom ? top + 1 : top + (top - bottom) * 0.08]
        },
      },
    },
    axes: [
      {
        ...axis,
        // Clear of the lowest label of the other axis.
        gap: 8,
        size: 28,
        grid: { show: false },
        splits: (u) => {
          const { min, max } = u.scales.x as { min: number; max: number }
          // A label at the very border would be cut.
          const border = ((max - min) / Math.max(1, u.width)) * 18
          return timeTicks(min, max, Math.max(2, u.width / 90), s.dates.offset(min)).ticks.filter((t) => t <= max - border)
        },
        values: (u, splits) => {
          const step = splits.length > 1 ? splits[1]! - splits[0]! : u.scales.x!.max! - u.scales.x!.min!
          return splits.map((t) => s.dates.tick(t, step))
        },
      },
      {
        ...axis,
        size: (u, values) => (values ? Math.max(36, ...values.map((v) => measure(u.ctx, v, font))) + 10 : 44),
        grid: { stroke: colours.get('line'), width: 1 },
        splits: (u) => (latest.current.format === bytes ? binaryTicks : linearTicks)(u.scales.y!.min!, u.scales.y!.max!, Math.max(2, Math.floor(u.height / 40))),
        values: (_, splits) => splits.map((v) => (v === 0 ? '0' : latest.current.format(v))),
      },
    ],
    series: [
      {},
      ...latest.current.lines.map((l): uPlot.Series => {
        const stroke = colours.get(l.colour)
        return { label: l.name, stroke, width: 1.5, dash: l.dashed ? [4, 4] : undefined, fill: l.area ? `color-mix(in srgb, ${stroke} 16%, transparent)` : undefined, points: { show: true, size: 4, width: 0, fill: stroke, filter: alone }, spanGaps: false }
      }),
    ],
    hooks: {
      setSelect: [
        (u) => {
          const { left, width } = u.select
          brushed = width > 3
          if (brushed) latest.current.onBrush?.(u.posToVal(left, 'x'), u.posToVal(left + width, 'x'))
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
        },
      ],
      setCursor: [
        (u) => {
          const { left, idx } = u.cursor
          s.onHover(left == null || left < 0 || idx == null ? undefined : { left: left + u.over.offsetLeft, width: u.width, index: idx, near: nearest(u, idx) })
        },
      ],
      draw: [(u) => latest.current.dots && s.onDraw(u)],
      ready: [
        (u) => {
          u.over.addEventListener('mousedown', () => (brushed = false))
          u.over.addEventListener('click', () => {
            if (brushed) return
            const { idx } = u.cursor
            const near = idx == null ? -1 : nearest(u, idx)
            if (near >= 0 && idx != null) latest.current.onPick?.(near, latest.current.times[idx]!)
          })
        },
      ],
    },
  }
}

/** The line nearest to the cursor; -1 when none is close. */
function nearest(u: uPlot, index: number): number {
  const top = u.cursor.top ?? -1
  let best = -1
  let distance = 32
  for (let i = 1; i < u.data.length; i++) {
    const v = u.data[i]?.[index]
    if (v == null) continue
    const d = Math.abs(u.valToPos(v, 'y') - top)
    if (d < distance) {
      distance = d
      best = i - 1
    }
  }
  return best
}

function measure(ctx: CanvasRenderingContext2D, text: string, font: string): number {
  ctx.save()
  ctx.font = font
  const { width } = ctx.measureText(text)
  ctx.restore()
  return width
}
