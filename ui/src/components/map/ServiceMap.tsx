import { type PointerEvent, type RefObject, useEffect, useMemo, useRef, useState } from 'react'
import type { Schemas } from '../../api/client'
import { serviceColour } from '../../state/colour'
import { useTexts } from '../../state/texts'
import { duration, middle, percent, rate } from '../../state/units'
import { IconButton } from '../Button'
import { Icon, type IconName } from '../Icon'
import { useSize } from '../useSize'
import { mergeEdges } from './edges'
import { type Layout, layout, nodeHeight, nodeWidth, type Placed, type Route } from './layout'
import css from './ServiceMap.module.css'

type Graph = Schemas['Graph']
type Node = Graph['nodes'][number]
type Edge = Graph['edges'][number]

/** From this share of failed calls on, an edge or a node is red. */
const failingShare = 0.01
/** With more edges than this, figures show on hover only. */
const labelledEdges = 40

const kindIcon: Record<Node['kind'], IconName | undefined> = {
  service: undefined, database: 'database', messaging: 'queue', external: 'globe', client: 'user',
}

/** What stands on a picture that is not about requests. */
export interface Describe {
  label: string
  edge: (e: Edge) => { lines: readonly string[]; title: string; bad: boolean }
  node: (n: Node) => { figures: string; title: string; bad: boolean }
}

interface Props {
  graph: Graph
  /** Instead of rate, errors and latency; then rate is only how wide an edge is drawn. */
  describe?: Describe
  chosen?: string
  onChoose: (name: string | undefined) => void
  /** Without buttons; the wheel scrolls the page. */
  still?: boolean
}

export function ServiceMap({ graph, chosen, onChoose, still, describe }: Props) {
  const t = useTexts()
  const [hover, setHover] = useState<string>()
  const host = useRef<HTMLDivElement>(null)
  const size = useSize(host)
  const plan = useMemo(() => (still ? closest(graph, size) : layout(graph.nodes.map((n) => n.name), graph.edges)), [graph, still, size])
  const svg = useRef<SVGSVGElement>(null)
  const view = usePanZoom(svg, plan.width, plan.height, still ?? false)
  const nodes = new Map(graph.nodes.map((n) => [n.name, n]))
  const edges = useMemo(() => mergeEdges(graph.edges), [graph])
  const busiest = Math.max(1e-9, ...[...edges.values()].map((e) => e.rate))
  const near = hover && new Set([hover, ...graph.edges.filter((e) => e.from === hover || e.to === hover).flatMap((e) => [e.from, e.to])])
  return (
    <div ref={host} className={css.map}>
      <svg ref={svg} className={css.canvas} role="group" aria-label={describe?.label ?? t.services.mapLabel(graph.nodes.length, graph.edges.length)} {...view.handlers} onClick={(e) => e.target === e.currentTarget && !view.moved() && onChoose(undefined)}>
        <defs>
          <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse" markerUnits="userSpaceOnUse">
            <path d="M0 .5 7 4 0 7.5z" fill="context-stroke" />
          </marker>
        </defs>
        <g transform={view.transform}>
          {plan.routes.map((r) => {
            const e = edges.get(`${r.from}\0${r.to}`)!
            const faded = hover !== undefined && r.from !== hover && r.to !== hover
            return <EdgePath key={`${r.from}\0${r.to}`} route={r} edge={e} describe={describe} width={1 + 3 * Math.sqrt(e.rate / busiest)} faded={faded} down={plan.down} labelled={(!still && graph.edges.length <= labelledEdges) || (hover !== undefined && !faded)} />
          })}
          {plan.nodes.map((p) => (
            <NodeBox
              key={p.name}
              at={p}
              node={nodes.get(p.name)!}
              describe={describe}
              chosen={p.name === chosen}
              faded={near ? !near.has(p.name) : false}
              onHover={setHover}
              onChoose={() => view.moved() || onChoose(p.name === chosen ? undefined : p.name)}
            />
          ))}
        </g>
      </svg>
      {!still && (
        <div className={css.tools}>
          <IconButton small icon="plus" label={t.services.zoomIn} onClick={() => view.zoom(1.3)} />
          <IconButton small icon="minus" label={t.services.zoomOut} onClick={() => view.zoom(1 / 1.3)} />
          <IconButton small icon="open" label={t.services.fit} onClick={view.fit} />
        </div>
      )}
    </div>
  )
}

function EdgePath({ route, edge, width, faded, labelled, down, describe }: { route: Route; edge: Edge; describe: Describe | undefined; width: number; faded: boolean; labelled: boolean; down: boolean }) {
  const t = useTexts()
  const own = describe?.edge(edge)
  const failing = own?.bad ?? edge.errorRate >= failingShare
  const middlePoint = midpoint(route.points)
  const above = own ? own.lines.slice(0, 1) : [`${rate(edge.rate)} ${t.units.perSecond}`, ...(edge.errorRate > 0 ? [percent(edge.errorRate)] : [])]
  const below = own ? own.lines[1] : edge.p95 >= 0 ? duration(edge.p95) : undefined
  return (
    <g className={`${css.edgeGroup} ${failing ? css.bad : ''} ${faded ? css.dimmed : ''}`}>
      <title>{own?.title ?? `${t.services.edge(edge.from, edge.to)}\n${t.signal.rate} ${rate(edge.rate)} ${t.units.perSecond}\n${t.signal.errorRate} ${percent(edge.errorRate)}\nP95 ${duration(edge.p95)}`}</title>
      <path className={css.edge} d={curve(route.points, down)} strokeWidth={width} strokeDasharray={edge.kind === 'messaging' ? '6 4' : undefined} markerEnd="url(#arrow)" />
      {labelled && (
        <text className={css.label}>
          <tspan x={middlePoint.x} y={middlePoint.y - 5}>
            {above.join(' · ')}
          </tspan>
          {below && (
            <tspan x={middlePoint.x} y={middlePoint.y + 13}>
              {below}
            </tspan>
          )}
        </text>
      )}
    </g>
  )
}

function NodeBox({ at, node, chosen, faded, onHover, onChoose, describe }: { at: Placed; node: Node; describe: Describe | undefined; chosen: boolean; faded: boolean; onHover: (name: string | undefined) => void; onChoose: () => void }) {
  const t = useTexts()
  const own = describe?.node(node)
  const failing = own?.bad ?? node.errorRate >= failingShare
  const icon = kindIcon[node.kind]
  const figures = own?.figures ?? `${rate(node.rate)} ${t.units.perSecond}`
  return (
    <g
      className={`${css.node} ${chosen ? css.chosen : ''} ${failing ? css.failing : ''} ${faded ? css.dimmed : ''}`}
      transform={`translate(${at.x - nodeWidth / 2} ${at.y - nodeHeight / 2})`}
      role="button"
      tabIndex={0}
      aria-pressed={chosen}
      aria-label={own?.title ?? `${node.name}, ${t.services.kind[node.kind]}, ${figures}, ${t.signal.errorRate} ${percent(node.errorRate)}, P95 ${duration(node.p95)}`}
      onMouseEnter={() => onHover(node.name)}
      onMouseLeave={() => onHover(undefined)}
      onFocus={() => onHover(node.name)}
      onBlur={() => onHover(undefined)}
      onClick={onChoose}
      onKeyDown={(e) => {
        if (e.key !== 'Enter' && e.key !== ' ') return
        e.preventDefault()
        onChoose()
      }}
    >
      <rect className={css.box} width={nodeWidth} height={nodeHeight} rx="6" />
      {icon ? (
        <g className={css.icon} transform="translate(10 8)">
          <Icon name={icon} size={14} />
        </g>
      ) : (
        <rect x="0" y="6" width="4" height={nodeHeight - 12} rx="2" style={{ fill: serviceColour(node.name) }} />
      )}
      <text className={css.name} x={icon ? 30 : 14} y="19">
        {middle(node.name, 9)}
      </text>
      <text className={css.figures} x="14" y="37">
        {(own || node.rate > 0 || node.kind !== 'client') && figures}
        {!own && node.errorRate > 0 && (
          <tspan className={failing ? css.worse : undefined} dx="6">
            {percent(node.errorRate)}
          </tspan>
        )}
        {!own && node.p95 >= 0 && <tspan dx="6">{duration(node.p95)}</tspan>}
      </text>
    </g>
  )
}

/** Without figures on the calls, layers need less room between them. */
const tight = { layerGap: 56, rowGap: 14 }

/** The drawing that is larger in the room there is. */
function closest(graph: Graph, room: { width: number; height: number }): Layout {
  const names = graph.nodes.map((n) => n.name)
  const [across, down] = [false, true].map((d) => layout(names, graph.edges, { ...tight, down: d }))
  const scale = (l: Layout) => Math.min(room.width / l.width, room.height / l.height)
  return scale(down!) > scale(across!) ? down! : across!
}

/** A smooth line through the points, along the layers at each of them. */
function curve(points: Route['points'], down: boolean): string {
  return points
    .map((p, i) => {
      const last = points[i - 1]
      if (!last) return `M${p.x} ${p.y}`
      const [dx, dy] = down ? [0, (p.y - last.y) / 2] : [(p.x - last.x) / 2, 0]
      return `C${last.x + dx} ${last.y + dy} ${p.x - dx} ${p.y - dy} ${p.x} ${p.y}`
    })
    .join('')
}

function midpoint(points: Route['points']): { x: number; y: number } {
  const i = Math.floor((points.length - 1) / 2)
  const [a, b] = [points[i]!, points[i + 1] ?? points[i]!]
  return points.length % 2 === 1 ? a : { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 }
}

interface View {
  x: number
  y: number
  scale: number
}

const margin = 24

/** Drag moves, the wheel zooms around the pointer; fits when the picture or the window changes size. */
function usePanZoom(ref: RefObject<SVGSVGElement | null>, width: number, height: number, still: boolean) {
  const [view, setView] = useState<View>({ x: margin, y: margin, scale: 1 })
  const drag = useRef<{ x: number; y: number; far: boolean }>(undefined)

  const fitted = (): View => {
    const box = ref.current?.getBoundingClientRect()
    if (!box || width === 0) return { x: margin, y: margin, scale: 1 }
    const scale = Math.min(1.1, (box.width - 2 * margin) / width, (box.height - 2 * margin) / height)
    return { scale, x: (box.width - width * scale) / 2, y: (box.height - height * scale) / 2 }
  }
  useEffect(() => {
    const el = ref.current
    if (!el) return
    const observer = new ResizeObserver(() => setView(fitted()))
    observer.observe(el)
    return () => observer.disconnect()
    // eslint-disable-next-line react-hooks/exhaustive-deps -- fitted depends on the size alone
  }, [ref, width, height])

  const zoomAt = (factor: number, px: number, py: number) =>
    setView((v) => {
      const scale = Math.min(3, Math.max(0.1, v.scale * factor))
      const k = scale / v.scale
      return { scale, x: px - (px - v.x) * k, y: py - (py - v.y) * k }
    })
  useEffect(() => {
    const el = ref.current
    if (!el || still) return
    // React's wheel listeners are passive and cannot keep the page from scrolling.
    const onWheel = (e: WheelEvent) => {
      e.preventDefault()
      const box = el.getBoundingClientRect()
      zoomAt(Math.exp(-e.deltaY / 400), e.clientX - box.left, e.clientY - box.top)
    }
    el.addEventListener('wheel', onWheel, { passive: false })
    return () => el.removeEventListener('wheel', onWheel)
  }, [ref, still])

  return {
    transform: `translate(${view.x} ${view.y}) scale(${view.scale})`,
    zoom: (factor: number) => {
      const box = ref.current?.getBoundingClientRect()
      if (box) zoomAt(factor, box.width / 2, box.height / 2)
    },
    fit: () => setView(fitted()),
    /** Whether the last press was a drag rather than a click. */
    moved: () => drag.current?.far ?? false,
    handlers: {
      onPointerDown: (e: PointerEvent) => {
        drag.current = { x: e.clientX, y: e.clientY, far: false }
      },
      onPointerMove: (e: PointerEvent) => {
        const d = drag.current
        if (!d || e.buttons !== 1) return
        const [dx, dy] = [e.clientX - d.x, e.clientY - d.y]
        if (!d.far && Math.hypot(dx, dy) < 4) return
        e.currentTarget.setPointerCapture(e.pointerId)
        drag.current = { x: e.clientX, y: e.clientY, far: true }
        setView((v) => ({ ...v, x: v.x + dx, y: v.y + dy }))
      },
    },
  }
}
