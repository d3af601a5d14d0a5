import { type MouseEvent, useEffect, useMemo, useRef, useState } from 'react'
import { useSize } from '../../components/useSize'
import { inkOn, themeColours } from '../../state/colour'
import { useDark } from '../../state/preferences'
import { useTexts } from '../../state/texts'
import { duration } from '../../state/units'
import { lanes, type Model } from './model'
import css from './Flame.module.css'

const laneHeight = 20
/** Names are left out of spans narrower than this. */
const nameFrom = 28

interface Props {
  model: Model
  zoom: readonly [number, number]
  onZoom: (zoom: readonly [number, number] | undefined) => void
  chosen: string | undefined
  onChoose: (spanId: string) => void
  matches: ReadonlySet<number> | undefined
}

/** Spans over time, each below its parent. Only the lanes in sight are drawn. */
export function Flame({ model, zoom, onZoom, chosen, onChoose, matches }: Props) {
  const t = useTexts()
  const dark = useDark()
  const scroll = useRef<HTMLDivElement>(null)
  const canvas = useRef<HTMLCanvasElement>(null)
  const size = useSize(scroll)
  const [top, setTop] = useState(0)
  const [hover, setHover] = useState<{ row: number; x: number; y: number }>()
  const plan = useMemo(() => byLane(model), [model])
  const height = Math.min(size.height, plan.length * laneHeight + 8)

  useEffect(() => {
    if (!canvas.current || size.width === 0) return
    paint(canvas.current, { model, plan, zoom, top, width: size.width, height, chosen: chosen === undefined ? -1 : (model.rowOf.get(chosen) ?? -1), matches })
  }, [model, plan, zoom, top, size.width, height, chosen, matches, dark])

  const hit = (e: MouseEvent) => {
    const r = scroll.current!.getBoundingClientRect()
    const [x, y] = [e.clientX - r.left, e.clientY - r.top]
    const at = zoom[0] + (x / size.width) * (zoom[1] - zoom[0])
    const slack = ((zoom[1] - zoom[0]) / size.width) * 2
    const row = plan[Math.floor((y + top) / laneHeight)]?.find((i) => {
      const { offsetNs, durationNs } = model.rows[i]!.span
      return at >= offsetNs - slack / 2 && at <= offsetNs + Math.max(durationNs, slack)
    })
    return { row, x, y: y + top }
  }
  const hovered = hover && model.rows[hover.row]!.span
  return (
    <div className={css.flame}>
      <p className={css.help}>{t.trace.flameHelp}</p>
      <div ref={scroll} className={css.scroll} onScroll={(e) => setTop(e.currentTarget.scrollTop)} tabIndex={0} role="img" aria-label={t.trace.flame}>
        <div className={css.spacer} style={{ height: plan.length * laneHeight + 8 }} />
        <canvas
          ref={canvas}
          style={{ height }}
          onMouseMove={(e) => {
            const h = hit(e)
            setHover(h.row === undefined ? undefined : { row: h.row, x: h.x, y: h.y })
          }}
          onMouseLeave={() => setHover(undefined)}
          onClick={(e) => {
            const { row } = hit(e)
            if (row === undefined) return onZoom(undefined)
            const { span } = model.rows[row]!
            onChoose(span.spanId)
            onZoom([span.offsetNs, span.offsetNs + Math.max(1000, span.durationNs)])
          }}
        />
        {hover && hovered && (
          <div className={css.tip} style={{ top: hover.y + 14, ...(hover.x > size.width / 2 ? { right: size.width - hover.x } : { left: hover.x + 8 }) }}>
            <div>
              <span className="dim">{hovered.service}</span> {hovered.name}
            </div>
            <div className="dim">
              {duration(hovered.durationNs)} · {t.trace.self} {duration(hovered.selfNs)}
            </div>
          </div>
        )}
      </div>
    </div>
  )
}

/** Rows of each lane, by start. */
function byLane(model: Model): number[][] {
  const { lane, count } = lanes(model)
  const out: number[][] = Array.from({ length: count }, () => [])
  model.rows.forEach((_, i) => out[lane[i]!]!.push(i))
  for (const l of out) l.sort((a, b) => model.rows[a]!.span.offsetNs - model.rows[b]!.span.offsetNs)
  return out
}

interface Picture {
  model: Model
  plan: number[][]
  zoom: readonly [number, number]
  top: number
  width: number
  height: number
  chosen: number
  matches: ReadonlySet<number> | undefined
}

function paint(canvas: HTMLCanvasElement, p: Picture): void {
  canvas.width = Math.round(p.width * devicePixelRatio)
  canvas.height = Math.round(p.height * devicePixelRatio)
  const ctx = canvas.getContext('2d')!
  ctx.scale(devicePixelRatio, devicePixelRatio)
  const colours = themeColours()
  ctx.font = `11px ${colours.get('font')}`
  ctx.textBaseline = 'middle'
  const [from, to] = p.zoom
  const x = (ns: number) => ((ns - from) / (to - from)) * p.width
  const first = Math.floor(p.top / laneHeight)
  const last = Math.min(p.plan.length - 1, Math.ceil((p.top + p.height) / laneHeight))
  for (let l = first; l <= last; l++) {
    const y = l * laneHeight - p.top
    for (const i of p.plan[l]!) {
      const { span } = p.model.rows[i]!
      const left = Math.max(0, x(span.offsetNs))
      const right = Math.min(p.width, x(span.offsetNs + span.durationNs))
      if (right < 0 || left > p.width || right < left) continue
      const width = Math.max(1, right - left - 1)
      const colour = span.status === 'error' ? colours.get('bad') : colours.service(span.service)
      ctx.globalAlpha = p.matches && !p.matches.has(i) ? 0.25 : 1
      ctx.fillStyle = colour
      ctx.fillRect(left, y, width, laneHeight - 2)
      if (width >= nameFrom) {
        ctx.fillStyle = inkOn(colour)
        ctx.fillText(fit(ctx, `${span.service}: ${span.name}`, width - 8), left + 4, y + laneHeight / 2 - 1)
      }
      if (i === p.chosen) {
        ctx.strokeStyle = colours.get('ink')
        ctx.lineWidth = 2
        ctx.strokeRect(left + 1, y + 1, Math.max(1, width - 2), laneHeight - 4)
      }
    }
  }
  ctx.globalAlpha = 1
}

/** The text, cut to a width. An average width is near enough and saves measuring each. */
function fit(ctx: CanvasRenderingContext2D, text: string, width: number): string {
  const most = Math.floor(width / 5.8)
  if (text.length <= most) return text
  const cut = `${text.slice(0, Math.max(0, most - 1))}…`
  return ctx.measureText(cut).width > width ? `${text.slice(0, Math.max(0, most - 4))}…` : cut
}
