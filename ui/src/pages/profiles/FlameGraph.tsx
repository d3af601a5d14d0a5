// Frames over their share, each below its caller (or above, for callers). One
// canvas draws what is in sight; what changes under the pointer lies over it.

import { type KeyboardEvent, type MouseEvent, type ReactNode, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from 'react'
import { useSize } from '../../components/useSize'
import { themeColours } from '../../state/colour'
import { useDark } from '../../state/preferences'
import { useTexts } from '../../state/texts'
import css from './FlameGraph.module.css'
import { byChange, byKind, draw, labelsOf, type Picture, rowHeight, rowTop } from './paint'
import { hit, type Step, type Tree, walk } from './tree'

/** Long enough to see where a frame went, and no longer. */
const moveMs = 140

interface Props {
  label: string
  tree: Tree
  rootName: string
  /** The frame that takes the whole width. */
  zoom: number
  /** The frame that is chosen, or -1. */
  chosen: number
  /** A frame was chosen, and with zoom it takes the width. */
  onChoose: (node: number, zoom: boolean) => void
  /** Away from the zoom. */
  onReset: () => void
  hits?: Uint8Array
  up?: boolean
  /** What stands at the end of a frame with room for it. */
  word?: (node: number) => string
  /** A frame in words, for assistive tools. */
  describe: (node: number) => string
  /** A frame under the pointer. */
  tip: (node: number) => ReactNode
}

const keySteps: Record<string, Step> = { ArrowUp: 'up', ArrowDown: 'down', ArrowLeft: 'left', ArrowRight: 'right' }
const upside: Record<Step, Step> = { up: 'down', down: 'up', left: 'left', right: 'right' }

export function FlameGraph({ label, tree, rootName, zoom, chosen, onChoose, onReset, hits, up = false, word, describe, tip }: Props) {
  const t = useTexts()
  const hint = useId()
  const scroll = useRef<HTMLDivElement>(null)
  const size = useSize(scroll)
  const [top, setTop] = useState(0)
  const [hover, setHover] = useState<{ node: number; x: number; y: number }>()
  const [focused, setFocused] = useState(false)
  const full = tree.rows.length * rowHeight
  const height = Math.min(size.height, full)
  const at = useMemo(() => ({ from: tree.x[zoom] ?? 0, to: (tree.x[zoom] ?? 0) + (tree.width[zoom] || 1) }), [tree, zoom])
  const canvas = useCanvas({ tree, rootName, zoom, top, width: size.width, height, up, hits, word, ...at })

  // A chosen frame comes into sight, and with callers above the root does.
  useLayoutEffect(() => {
    const el = scroll.current
    if (!el) return
    if (chosen < 0) {
      if (up) el.scrollTop = full
      return
    }
    const y = rowTop(tree, tree.depth[chosen]!, up)
    if (y < el.scrollTop) el.scrollTop = Math.max(0, y - rowHeight)
    else if (y + 2 * rowHeight > el.scrollTop + el.clientHeight) el.scrollTop = y + 2 * rowHeight - el.clientHeight
  }, [tree, chosen, up, full, size.height])

  const nodeAt = (e: MouseEvent) => {
    const r = scroll.current!.getBoundingClientRect()
    const [x, y] = [e.clientX - r.left, e.clientY - r.top]
    const row = Math.floor((y + top) / rowHeight)
    return { node: hit(tree, up ? tree.rows.length - 1 - row : row, at.from + (x / size.width) * (at.to - at.from)), x, y: y + top }
  }
  const onKeyDown = (e: KeyboardEvent) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return
    const step = keySteps[e.key]
    const current = chosen < 0 ? zoom : chosen
    if (step) onChoose(chosen < 0 ? zoom : walk(tree, current, up ? upside[step] : step, zoom), false)
    else if (e.key === 'Enter') onChoose(current, true)
    else if (e.key === 'Home') onChoose(0, true)
    else if (e.key === 'Escape' && zoom !== 0) onReset()
    else return
    e.preventDefault()
    e.stopPropagation()
  }
  const place = (i: number) => {
    const scale = size.width / (at.to - at.from)
    const left = Math.max(0, (tree.x[i]! - at.from) * scale)
    const right = Math.min(size.width, (tree.x[i]! + tree.width[i]! - at.from) * scale)
    return { left, top: rowTop(tree, tree.depth[i]!, up), width: Math.max(2, right - left - 1), height: rowHeight - 1, hidden: right < left }
  }
  const outline = (i: number, name: string | undefined) => {
    const { hidden, ...style } = place(i)
    return hidden ? null : <div className={name} style={style} />
  }
  return (
    <div
      ref={scroll}
      className={css.scroll}
      role="application"
      aria-label={label}
      aria-describedby={hint}
      tabIndex={0}
      onScroll={(e) => setTop(e.currentTarget.scrollTop)}
      onKeyDown={onKeyDown}
      onFocus={() => setFocused(true)}
      onBlur={() => setFocused(false)}
      onMouseMove={(e) => {
        const h = nodeAt(e)
        setHover(h.node < 0 ? undefined : h)
      }}
      onMouseLeave={() => setHover(undefined)}
      onClick={(e) => {
        const { node } = nodeAt(e)
        if (node < 0) onReset()
        else onChoose(node, true)
      }}
    >
      <div className={css.spacer} style={{ height: full }} />
      <canvas ref={canvas} style={{ height }} aria-hidden="true" />
      {hover && hover.node !== chosen && outline(hover.node, css.hover)}
      {chosen >= 0 && chosen < tree.count && outline(chosen, css.chosen)}
      {hover && (
        <div className={css.tip} style={tipPlace(hover.x, hover.y, size.width, top + size.height)}>
          {tip(hover.node)}
        </div>
      )}
      <span id={hint} className="hidden-text">
        {t.profiles.flameKeys}
      </span>
      <span className="hidden-text" aria-live="polite">
        {focused && chosen >= 0 && chosen < tree.count && describe(chosen)}
      </span>
    </div>
  )
}

/** Beside the pointer, and where that is too close to an edge on its other side. */
function tipPlace(x: number, y: number, width: number, foot: number) {
  return { ...(x > width / 2 ? { right: width - x + 4 } : { left: x + 12 }), ...(y > foot - 140 && y > 160 ? { top: y - 12, transform: 'translateY(-100%)' } : { top: y + 16 }) }
}

/** Draws when something changed, and moves from one zoom to the next. */
function useCanvas(p: Omit<Picture, 'paint' | 'labels' | 'font' | 'ink'>) {
  const dark = useDark()
  const canvas = useRef<HTMLCanvasElement>(null)
  const shown = useRef<{ tree: Tree; from: number; to: number }>(undefined)
  const look = useRef<Look>(undefined)
  const { tree } = p
  useEffect(() => {
    const el = canvas.current
    if (!el || p.width === 0) return
    // Read here and not while rendering: only now does the document carry the theme.
    if (look.current?.tree !== tree || look.current.dark !== dark) look.current = lookOf(tree, dark)
    const picture = { ...p, ...look.current }
    const start = shown.current?.tree === tree ? shown.current : p
    const paintAt = (share: number) => {
      const eased = 1 - (1 - share) ** 3
      const from = start.from + (p.from - start.from) * eased
      const to = start.to + (p.to - start.to) * eased
      shown.current = { tree, from, to }
      draw(el, { ...picture, from, to })
    }
    if ((start.from === p.from && start.to === p.to) || matchMedia('(prefers-reduced-motion: reduce)').matches) return paintAt(1)
    const began = performance.now()
    let frame = 0
    const tick = (now: number) => {
      const share = Math.min(1, Math.max(0, (now - began) / moveMs))
      paintAt(share)
      if (share < 1) frame = requestAnimationFrame(tick)
    }
    tick(began)
    return () => cancelAnimationFrame(frame)
    // eslint-disable-next-line react-hooks/exhaustive-deps -- each part of the picture, not the object that holds them
  }, [tree, dark, p.from, p.to, p.zoom, p.top, p.width, p.height, p.up, p.hits, p.word, p.rootName])
  return canvas
}

/** What of a picture stays until the tree or the theme changes. */
interface Look extends Pick<Picture, 'tree' | 'paint' | 'labels' | 'font' | 'ink'> {
  dark: boolean
}

function lookOf(tree: Tree, dark: boolean): Look {
  const theme = themeColours()
  return { tree, dark, paint: tree.compared ? byChange(tree, (token) => theme.get(token)) : byKind(tree, (token) => theme.get(token)), labels: labelsOf(tree), font: theme.get('font'), ink: theme.get('ink') }
}
