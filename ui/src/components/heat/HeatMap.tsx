// Counts by time and value on a canvas. A box is drawn with the pointer, or
// with the arrow keys.

import { type KeyboardEvent, type PointerEvent, useEffect, useId, useMemo, useRef, useState } from 'react'
import { heatColour, themeColours } from '../../state/colour'
import { useDates } from '../../state/dates'
import { useDark } from '../../state/preferences'
import { logTicks, timeTicks } from '../../state/ticks'
import { useTexts } from '../../state/texts'
import { useSize } from '../useSize'
import { type Box, type Cell, fromY, type Grid, Index, type Plane, planeOf, rectOf, share, toX, toY } from './geometry'
import css from './HeatMap.module.css'

interface Props {
  label: string
  grid: Grid
  format: (value: number) => string
  /** How many there are, with their noun. */
  countText: (n: number) => string
  height: number
  box?: Box
  onBox: (box: Box | undefined) => void
}

interface Drag {
  x0: number
  y0: number
  x1: number
  y1: number
}

export function HeatMap({ label, grid, format, countText, height, box, onBox }: Props) {
  const t = useTexts()
  const dates = useDates()
  const dark = useDark()
  const hint = useId()
  const host = useRef<HTMLDivElement>(null)
  const canvas = useRef<HTMLCanvasElement>(null)
  const { width } = useSize(host)
  const inner = height - 20
  const plane = useMemo(() => planeOf(grid, Math.max(1, width), inner), [grid, width, inner])
  const index = useMemo(() => new Index(grid), [grid])
  const [drag, setDrag] = useState<Drag>()
  const [hover, setHover] = useState<{ x: number; y: number; cell: Cell }>()
  const keys = useCursor(plane, index, onBox)

  useEffect(() => {
    if (canvas.current && width > 0) paint(canvas.current, plane, grid, index, dark)
  }, [plane, grid, index, dark, width])

  const at = (e: PointerEvent) => {
    const r = host.current!.getBoundingClientRect()
    return [e.clientX - r.left, e.clientY - r.top] as const
  }
  const onPointerDown = (e: PointerEvent) => {
    if (e.button !== 0) return
    const [x, y] = at(e)
    e.currentTarget.setPointerCapture(e.pointerId)
    setDrag({ x0: x, y0: y, x1: x, y1: y })
    setHover(undefined)
  }
  const onPointerMove = (e: PointerEvent) => {
    const [x, y] = at(e)
    if (drag) setDrag({ ...drag, x1: x, y1: y })
    else {
      const cell = index.hit(plane, x, y)
      setHover(cell && { x, y, cell })
    }
  }
  const onPointerUp = () => {
    if (!drag) return
    setDrag(undefined)
    const far = Math.hypot(drag.x1 - drag.x0, drag.y1 - drag.y0) > 4
    // A click on empty ground takes the selection away.
    if (far || index.hit(plane, drag.x0, drag.y0)) onBox(index.box(plane, drag.x0, drag.y0, drag.x1, drag.y1))
    else onBox(undefined)
  }

  const shown = drag ? index.box(plane, drag.x0, drag.y0, drag.x1, drag.y1) : (keys.box ?? box)
  const x = timeTicks(plane.start, plane.end, Math.max(2, width / 100), dates.offset(plane.start))
  const describe = (c: Cell) =>
    t.traces.heatCell(countText(c.count), t.common.errors(c.errors), `${format(c.lo)} – ${format(c.hi)}`, dates.short(grid.start + c.x * grid.stepMs))
  return (
    <div className={css.heat} style={{ height }}>
      <div className={css.yAxis}>
        {logTicks(plane.lo, plane.hi, Math.max(2, inner / 28)).map((v) => (
          <span key={v} style={{ top: Math.min(inner - 6, Math.max(6, toY(plane, v))) }}>
            {format(v)}
          </span>
        ))}
      </div>
      <div
        ref={host}
        className={css.plane}
        role="application"
        aria-label={label}
        aria-describedby={hint}
        tabIndex={0}
        onPointerDown={onPointerDown}
        onPointerMove={onPointerMove}
        onPointerUp={onPointerUp}
        onPointerLeave={() => setHover(undefined)}
        onKeyDown={keys.onKeyDown}
        onBlur={keys.clear}
      >
        <canvas ref={canvas} aria-hidden="true" />
        {shown && <div className={css.selection} style={rectOf(plane, shown)} />}
        {keys.at && <div className={css.cursor} style={rectOf(plane, index.box(plane, keys.at[0], keys.at[1], keys.at[0], keys.at[1]))} />}
        {hover && (
          <div className={css.tip} style={tipPlace(hover.x, hover.y, width)}>
            <div>{countText(hover.cell.count)}</div>
            {hover.cell.errors > 0 && <div className={css.bad}>{t.common.errors(hover.cell.errors)}</div>}
            <div className="dim">
              {format(hover.cell.lo)} – {format(hover.cell.hi)}
            </div>
            <div className="dim">{dates.moment(grid.start + hover.cell.x * grid.stepMs)}</div>
          </div>
        )}
        <span id={hint} className="hidden-text">
          {t.traces.heatKeys}
        </span>
        <span className="hidden-text" aria-live="polite">
          {keys.at && (index.hit(plane, ...keys.at) ? describe(index.hit(plane, ...keys.at)!) : format(fromY(plane, keys.at[1])))}
        </span>
      </div>
      <div className={css.xAxis}>
        {x.ticks.map((ms) => (
          <span key={ms} style={{ left: Math.min(width - 20, Math.max(20, toX(plane, ms))) }}>
            {dates.tick(ms, x.step)}
          </span>
        ))}
      </div>
    </div>
  )
}

function tipPlace(x: number, y: number, width: number) {
  return { top: y + 14, ...(x > width - 180 ? { right: width - x + 8 } : { left: x + 12 }) }
}

/** A cursor for the keyboard: arrows move by a cell, with Shift they draw the box. */
function useCursor(plane: Plane, index: Index, onBox: (box: Box | undefined) => void) {
  const [at, setAt] = useState<readonly [number, number]>()
  const [anchor, setAnchor] = useState<readonly [number, number]>()
  const box = at && anchor ? index.box(plane, ...anchor, ...at) : undefined
  const onKeyDown = (e: KeyboardEvent) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key]
    if (step) {
      e.preventDefault()
      const from = at ?? [plane.width / 2, plane.height / 2]
      const cell = [plane.width / 60, plane.height / 24] as const
      const clamp = (v: number, max: number) => Math.min(max - 1, Math.max(0, v))
      if (e.shiftKey && !anchor) setAnchor(from)
      if (!e.shiftKey) setAnchor(undefined)
      setAt([clamp(from[0] + step[0]! * cell[0], plane.width), clamp(from[1] + step[1]! * cell[1], plane.height)])
    } else if (e.key === 'Enter' && at) {
      e.preventDefault()
      onBox(box ?? index.box(plane, ...at, ...at))
    } else if (e.key === 'Escape' && at) {
      e.stopPropagation()
      clear()
    }
  }
  const clear = () => {
    setAt(undefined)
    setAnchor(undefined)
  }
  return { at, box, onKeyDown, clear }
}

/** Cells narrower or lower than this have no gap between them. */
const gapFrom = 5

function paint(canvas: HTMLCanvasElement, plane: Plane, grid: Grid, index: Index, dark: boolean): void {
  const ratio = devicePixelRatio
  canvas.width = Math.round(plane.width * ratio)
  canvas.height = Math.round(plane.height * ratio)
  const ctx = canvas.getContext('2d')!
  ctx.scale(ratio, ratio)
  const bad = themeColours().get('bad')
  const columnWidth = plane.width / grid.columns
  const gap = columnWidth >= gapFrom ? 1 : 0
  for (const c of grid.cells) {
    const left = toX(plane, grid.start + c.x * grid.stepMs)
    const top = toY(plane, c.hi)
    const full = toY(plane, c.lo) - top
    const height = Math.max(1, full - (full >= gapFrom ? 1 : 0))
    const width = Math.max(1, columnWidth - gap)
    ctx.fillStyle = heatColour(share(c.count, index.least, index.most), dark)
    ctx.fillRect(left, top, width, height)
    if (c.errors === 0) continue
    // Errors fill the cell from below, and are seen even when they are few.
    const part = Math.max(2, height * Math.min(1, c.errors / c.count))
    ctx.fillStyle = bad
    ctx.fillRect(left, top + height - part, width, part)
  }
}

/** Explains the colours. */
export function HeatLegend({ errors }: { errors: boolean }) {
  const t = useTexts()
  const dark = useDark()
  const stops = [0, 0.25, 0.5, 0.75, 1].map((s) => heatColour(s, dark)).join(', ')
  return (
    <span className={css.legend}>
      {t.traces.fewer}
      <span className={css.scale} style={{ background: `linear-gradient(90deg, ${stops})` }} />
      {t.traces.most}
      {errors && (
        <>
          <span className={css.swatch} />
          {t.traces.withErrors}
        </>
      )}
    </span>
  )
}
