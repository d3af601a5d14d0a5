import { type PointerEvent, useEffect, useMemo, useRef, useState } from 'react'
import { useSize } from '../../components/useSize'
import { themeColours } from '../../state/colour'
import { useDark } from '../../state/preferences'
import { useTexts } from '../../state/texts'
import { lanes, type Model } from './model'
import css from './Minimap.module.css'

const height = 56

interface Props {
  model: Model
  zoom: readonly [number, number]
  onZoom: (zoom: readonly [number, number] | undefined) => void
}

/** The whole trace, small; the part that is shown stands out. Drag to choose it. */
export function Minimap({ model, zoom, onZoom }: Props) {
  const t = useTexts()
  const dark = useDark()
  const host = useRef<HTMLDivElement>(null)
  const canvas = useRef<HTMLCanvasElement>(null)
  const { width } = useSize(host)
  const plan = useMemo(() => lanes(model), [model])
  const [drag, setDrag] = useState<readonly [number, number]>()

  useEffect(() => {
    if (canvas.current && width > 0) paint(canvas.current, model, plan, width)
  }, [model, plan, width, dark])

  const at = (e: PointerEvent) => Math.min(1, Math.max(0, (e.clientX - host.current!.getBoundingClientRect().left) / width)) * model.total
  const [from, to] = drag ? [Math.min(...drag), Math.max(...drag)] : zoom
  const percent = (ns: number) => `${(100 * ns) / model.total}%`
  return (
    <div
      ref={host}
      className={css.map}
      role="img"
      aria-label={t.trace.minimap}
      title={t.trace.minimap}
      onPointerDown={(e) => {
        if (e.button !== 0) return
        e.currentTarget.setPointerCapture(e.pointerId)
        setDrag([at(e), at(e)])
      }}
      onPointerMove={(e) => drag && setDrag([drag[0], at(e)])}
      onPointerUp={() => {
        if (!drag) return
        setDrag(undefined)
        // A click shows all again.
        onZoom(to - from > model.total / 500 ? [from, to] : undefined)
      }}
    >
      <canvas ref={canvas} />
      <div className={css.veil} style={{ left: 0, width: percent(from) }} />
      <div className={css.veil} style={{ left: percent(to), right: 0 }} />
      {(from > 0 || to < model.total) && (
        <>
          <div className={css.edge} style={{ left: percent(from) }} />
          <div className={css.edge} style={{ left: percent(to) }} />
        </>
      )}
    </div>
  )
}

function paint(canvas: HTMLCanvasElement, model: Model, plan: ReturnType<typeof lanes>, width: number): void {
  canvas.width = Math.round(width * devicePixelRatio)
  canvas.height = Math.round(height * devicePixelRatio)
  const ctx = canvas.getContext('2d')!
  ctx.scale(devicePixelRatio, devicePixelRatio)
  const colours = themeColours()
  const laneHeight = Math.min(6, (height - 4) / Math.max(1, plan.count))
  const x = (ns: number) => (ns / model.total) * width
  const draw = (i: number, colour: string) => {
    const { span } = model.rows[i]!
    ctx.fillStyle = colour
    ctx.fillRect(x(span.offsetNs), 2 + plan.lane[i]! * laneHeight, Math.max(1, x(span.durationNs)), Math.max(1, laneHeight - 0.5))
  }
  const failed: number[] = []
  model.rows.forEach((r, i) => (r.span.status === 'error' ? failed.push(i) : draw(i, colours.service(r.span.service))))
  // Errors last, so that nothing covers them.
  for (const i of failed) draw(i, colours.get('bad'))
}
