import { useVirtualizer } from '@tanstack/react-virtual'
import { type PointerEvent, useCallback, useEffect, useMemo, useRef, useState } from 'react'
import { IconButton } from '../../components/Button'
import { useSize } from '../../components/useSize'
import { useKeys } from '../../state/keys'
import { setPreferences, usePreferences } from '../../state/preferences'
import { linearTicks } from '../../state/ticks'
import { useTexts } from '../../state/texts'
import { duration } from '../../state/units'
import { type Model, reveal, visible } from './model'
import { type LogDot, WaterfallRow } from './WaterfallRow'
import css from './Waterfall.module.css'

const rowHeight = 26
/** Vertical lines behind the bars; the ruler has a time for each. */
const parts = 5

interface Props {
  model: Model
  zoom: readonly [number, number]
  onZoom: (zoom: readonly [number, number] | undefined) => void
  /** Id of the span whose panel is open. */
  chosen: string | undefined
  onChoose: (spanId: string, how?: { replace?: boolean }) => void
  matches: ReadonlySet<number> | undefined
  dots: ReadonlyMap<string, readonly LogDot[]>
  /** Spans whose connection had trouble, with what to say of it. */
  marks: ReadonlyMap<string, string>
  /** A row to bring in sight; a new object each time. */
  goTo: { row: number } | undefined
}

export function Waterfall({ model, zoom, onZoom, chosen, onChoose, matches, dots, marks, goTo }: Props) {
  const t = useTexts()
  const { nameShare } = usePreferences()
  const scroll = useRef<HTMLDivElement>(null)
  const { width } = useSize(scroll)
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set())
  const [cursor, setCursor] = useState<number>()
  const shown = useMemo(() => visible(model.rows, folded), [model, folded])
  const chosenRow = chosen === undefined ? undefined : model.rowOf.get(chosen)
  const virtualizer = useVirtualizer({ count: shown.length, getScrollElement: () => scroll.current, estimateSize: () => rowHeight, overscan: 10 })

  const see = (row: number, align: 'auto' | 'center') => {
    const at = shown.indexOf(row)
    if (at >= 0) virtualizer.scrollToIndex(at, { align })
  }
  // What is chosen or searched for is shown, also inside of a folded span.
  const wanted = goTo?.row ?? chosenRow
  useEffect(() => {
    if (wanted !== undefined) setFolded((f) => reveal(model.rows, f, wanted))
  }, [wanted, goTo, model])
  useEffect(() => {
    if (wanted === undefined) return
    const at = shown.indexOf(wanted)
    if (at >= 0) virtualizer.scrollToIndex(at, { align: 'auto' })
    // eslint-disable-next-line react-hooks/exhaustive-deps -- folding a span must not scroll back to the chosen one
  }, [wanted, goTo])

  const toggle = useCallback(
    (row: number) => {
      const id = model.rows[row]!.span.spanId
      setFolded((f) => {
        const next = new Set(f)
        if (!next.delete(id)) next.add(id)
        return next
      })
    },
    [model],
  )
  const choose = useCallback(
    (row: number) => {
      setCursor(row)
      onChoose(model.rows[row]!.span.spanId)
    },
    [model, onChoose],
  )

  const current = chosenRow ?? cursor
  const moveTo = (row: number) => {
    setCursor(row)
    see(row, 'auto')
    // An open panel follows.
    if (chosenRow !== undefined) onChoose(model.rows[row]!.span.spanId, { replace: true })
  }
  const step = (by: number) => {
    const at = current === undefined ? -1 : shown.indexOf(current)
    const next = shown[Math.min(shown.length - 1, Math.max(0, at + by))]
    if (next !== undefined) moveTo(next)
  }
  useKeys({
    j: () => step(1),
    k: () => step(-1),
    Enter: (e) => {
      if (current === undefined || (e.target as HTMLElement).closest('a, button, summary')) return false
      choose(current)
    },
    ArrowRight: () => {
      if (current === undefined) return false
      const row = model.rows[current]!
      if (folded.has(row.span.spanId)) toggle(current)
      else if (row.children > 0) step(1)
    },
    ArrowLeft: () => {
      if (current === undefined) return false
      const row = model.rows[current]!
      if (row.children > 0 && !folded.has(row.span.spanId)) toggle(current)
      else if (row.parent >= 0) moveTo(row.parent)
    },
  })

  const [from, to] = zoom
  const pixels = Math.max(1, width * (1 - nameShare))
  const foldable = model.rows.filter((r) => r.children > 0 && r.depth > 0)
  return (
    <div className={css.waterfall} style={{ '--names': `${nameShare * 100}%`, '--share': nameShare, '--parts': parts } as React.CSSProperties}>
      <div className={css.ruler}>
        <div className={css.corner}>
          <span>{t.trace.span}</span>
          <IconButton small icon="minus" label={t.trace.collapseAll} onClick={() => setFolded(new Set(foldable.map((r) => r.span.spanId)))} />
          <IconButton small icon="plus" label={t.trace.expandAll} onClick={() => setFolded(new Set())} />
        </div>
        <Ruler from={from} to={to} whole={model.total} onZoom={onZoom} />
      </div>
      <NameHandle share={nameShare} host={scroll} />
      <div ref={scroll} className={css.scroll} role="tree" aria-label={t.trace.waterfall} tabIndex={0} aria-activedescendant={current === undefined ? undefined : `span-${model.rows[current]!.span.spanId}`}>
        <div className={css.rows} style={{ height: virtualizer.getTotalSize() }} role="presentation">
          {virtualizer.getVirtualItems().map((item) => {
            const index = shown[item.index]!
            const id = model.rows[index]!.span.spanId
            return (
              <WaterfallRow
                key={id}
                rows={model.rows}
                index={index}
                top={item.start}
                from={from}
                to={to}
                pixels={pixels}
                folded={folded.has(id)}
                chosen={index === chosenRow}
                cursor={index === cursor && chosenRow === undefined}
                match={matches && matches.has(index)}
                dots={dots.get(id)}
                mark={marks.get(id)}
                onFold={toggle}
                onChoose={choose}
              />
            )
          })}
        </div>
      </div>
    </div>
  )
}

/** Times over the bars; drag to zoom, double click to see all. */
function Ruler({ from, to, whole, onZoom }: { from: number; to: number; whole: number; onZoom: Props['onZoom'] }) {
  const [drag, setDrag] = useState<readonly [number, number]>()
  const share = (e: PointerEvent) => {
    const r = e.currentTarget.getBoundingClientRect()
    return Math.min(1, Math.max(0, (e.clientX - r.left) / r.width))
  }
  const [a, b] = drag ? [Math.min(...drag), Math.max(...drag)] : [0, 0]
  return (
    <div
      className={css.ticks}
      onPointerDown={(e) => {
        e.currentTarget.setPointerCapture(e.pointerId)
        setDrag([share(e), share(e)])
      }}
      onPointerMove={(e) => drag && setDrag([drag[0], share(e)])}
      onPointerUp={() => {
        if (drag && b - a > 0.01) onZoom([Math.round(from + a * (to - from)), Math.round(from + b * (to - from))])
        setDrag(undefined)
      }}
      onDoubleClick={() => (from > 0 || to < whole) && onZoom(undefined)}
    >
      {linearTicks(0, parts, parts).slice(0, -1).map((i) => (
        <span key={i} style={{ left: `${(100 * i) / parts}%` }}>
          {i === 0 && from === 0 ? '0' : duration(from + (i / parts) * (to - from))}
        </span>
      ))}
      {drag && <div className={css.brush} style={{ left: `${a * 100}%`, width: `${(b - a) * 100}%` }} />}
    </div>
  )
}

const narrowest = 0.12
const widest = 0.7

/** Moves the border between names and bars. */
function NameHandle({ share, host }: { share: number; host: React.RefObject<HTMLDivElement | null> }) {
  const t = useTexts()
  const set = (s: number) => setPreferences({ nameShare: Math.min(widest, Math.max(narrowest, s)) })
  return (
    <div
      className={css.handle}
      role="separator"
      aria-orientation="vertical"
      aria-label={t.common.resize}
      aria-valuenow={Math.round(share * 100)}
      aria-valuemin={narrowest * 100}
      aria-valuemax={widest * 100}
      tabIndex={0}
      onPointerDown={(e) => e.currentTarget.setPointerCapture(e.pointerId)}
      onPointerMove={(e) => {
        if (!e.currentTarget.hasPointerCapture(e.pointerId)) return
        const r = host.current!.getBoundingClientRect()
        set((e.clientX - r.left) / r.width)
      }}
      onKeyDown={(e) => {
        const by = { ArrowLeft: -0.02, ArrowRight: 0.02 }[e.key]
        if (!by) return
        e.preventDefault()
        e.stopPropagation()
        set(share + by)
      }}
    />
  )
}
