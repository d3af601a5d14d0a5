// Draws the frames in sight on a canvas.

import { hash, inkOn } from '../../state/colour'
import { change, level, steps } from './change'
import { packageOf, shortName } from './labels'
import { kinds, type Tree } from './tree'

export const rowHeight = 20
/** A gap separates frames that are at least this wide; below, they run together. */
const gapFrom = 3
/** Names are left out of frames narrower than this. */
const nameFrom = 26
/** Frames narrower than this are drawn as part of what is beside them. */
const least = 0.5
/** Shades of a kind, by package, so that neighbours are told apart. */
const shades = 3
/** What is not searched for, and what leads to the frame that is zoomed to. */
const faded = 0.28
const passed = 0.55
/** The names of both, which must still be read. */
const fadedInk = 0.8
/** Below this width a frame has room for its name only. */
const wordFrom = 72

interface Colour {
  fill: string
  ink: string
}

/** How each node is painted: an index into the colours. */
export interface Paint {
  of: Uint8Array
  colours: readonly Colour[]
}

type Theme = (token: string) => string

/** By kind, in a shade of its package. */
export function byKind(t: Tree, theme: Theme): Paint {
  const colours = kinds.flatMap((k) => Array.from({ length: shades }, (_, s) => colour(mix(theme(`k-${k}`), theme('panel'), s * 0.13))))
  const perName = t.names.map((name, i) => kinds.indexOf(t.kinds[i]!) * shades + (hash(packageOf(name)) % shades))
  const all = kinds.indexOf('other') * shades + shades - 1
  return { of: Uint8Array.from(t.name, (n) => (n < 0 ? all : perName[n]!)), colours }
}

/** By how much of the whole a frame takes more or less than on the other side. */
export function byChange(t: Tree, theme: Theme): Paint {
  const colours = Array.from({ length: 2 * steps + 1 }, (_, i) => {
    const l = i - steps
    return colour(mix(theme('k-even'), theme(l > 0 ? 'k-more' : 'k-less'), l === 0 ? 0 : 0.2 + (0.8 * Math.abs(l)) / steps))
  })
  const of = Uint8Array.from(t.name, (_, i) => steps + level(change(t.value[i]!, t.total, t.base[i]!, t.baseTotal)))
  return { of, colours }
}

const colour = (fill: string): Colour => ({ fill, ink: inkOn(fill) })

/** Between two colours of the form #rrggbb or #rgb, which the build makes of some. */
export function mix(a: string, b: string, share: number): string {
  const [from, to] = [whole(a), whole(b)]
  const part = (i: number) => {
    const [x, y] = [parseInt(from.slice(i, i + 2), 16), parseInt(to.slice(i, i + 2), 16)]
    return Math.round(x + (y - x) * share).toString(16).padStart(2, '0')
  }
  return `#${part(1)}${part(3)}${part(5)}`
}

const whole = (colour: string) => (colour.length === 4 ? colour.replace(/[\da-f]/gi, '$&$&') : colour)

export interface Labels {
  /** The short name of each name. */
  text: string[]
  /** Widths of characters, measured when first met; adding up is quicker than measuring each text. */
  widths: Map<string, number>
}

export function labelsOf(t: Tree): Labels {
  return { text: t.names.map(shortName), widths: new Map() }
}

export interface Picture {
  tree: Tree
  paint: Paint
  labels: Labels
  /** What the root is called. */
  rootName: string
  /** What is in sight, the root being from 0 to 1. */
  from: number
  to: number
  /** The frame that is zoomed to; its callers are drawn as passed. */
  zoom: number
  /** Pixels above what is in sight. */
  top: number
  width: number
  height: number
  /** Callers stand above: the root is at the foot. */
  up: boolean
  /** 1 for each node that is searched for. */
  hits?: Uint8Array
  /** What is said after the name, where there is room. */
  word?: (node: number) => string
  font: string
  /** The ink of the page, for names on faded ground. */
  ink: string
}

/** Where a depth is drawn, in pixels from the top of the whole picture. */
export function rowTop(t: Tree, depth: number, up: boolean): number {
  return (up ? t.rows.length - 1 - depth : depth) * rowHeight
}

export function draw(canvas: HTMLCanvasElement, p: Picture): void {
  const ratio = devicePixelRatio
  const [w, h] = [Math.round(p.width * ratio), Math.round(p.height * ratio)]
  // Setting the size clears, and costs a new bitmap.
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h })
  const ctx = canvas.getContext('2d')!
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0)
  ctx.clearRect(0, 0, p.width, p.height)
  ctx.font = `11px ${p.font}`
  ctx.textBaseline = 'middle'
  const count = p.tree.rows.length
  const first = Math.max(0, Math.floor(p.top / rowHeight))
  const last = Math.min(count - 1, Math.floor((p.top + p.height) / rowHeight))
  for (let r = first; r <= last; r++) drawRow(ctx, p, p.up ? count - 1 - r : r, r * rowHeight - p.top)
  ctx.globalAlpha = 1
}

function drawRow(ctx: CanvasRenderingContext2D, p: Picture, depth: number, y: number): void {
  const { tree: t, paint, from, to } = p
  const row = t.rows[depth]!
  const scale = p.width / (to - from)
  let fill = ''
  /** Up to where narrow frames have been drawn. */
  let drawn = -1
  for (let k = firstInSight(t, row, from); k < row.length; k++) {
    const i = row[k]!
    const x0 = (t.x[i]! - from) * scale
    if (x0 >= p.width) break
    const left = Math.max(0, x0)
    const right = Math.min(p.width, x0 + t.width[i]! * scale)
    const width = right - left
    if (width < least && right < drawn + least) continue
    const colour = paint.colours[paint.of[i]!]!
    const alpha = p.hits && !p.hits[i] ? faded : depth < t.depth[p.zoom]! ? passed : 1
    if (ctx.globalAlpha !== alpha) ctx.globalAlpha = alpha
    if (fill !== colour.fill) ctx.fillStyle = fill = colour.fill
    const shown = width >= gapFrom ? width - 1 : Math.max(least, width)
    ctx.fillRect(left, y, shown, rowHeight - 1)
    drawn = right
    if (width < nameFrom) continue
    const name = t.name[i]!
    // Faded, every ground is close to that of the page.
    ctx.fillStyle = alpha < 1 ? p.ink : colour.ink
    if (alpha < 1) ctx.globalAlpha = fadedInk
    fill = ''
    let room = width - 8
    const word = p.word && name >= 0 && width >= wordFrom ? p.word(i) : ''
    const wide = word && widthOf(ctx, p.labels, word) + 10
    if (wide && room - wide >= nameFrom) {
      ctx.fillText(word, left + width + 5 - wide, y + rowHeight / 2)
      room -= wide
    }
    ctx.fillText(name < 0 ? p.rootName : fitted(ctx, p.labels, p.labels.text[name]!, room), left + 4, y + rowHeight / 2)
  }
}

/** The first frame of a row that ends after a place. */
function firstInSight(t: Tree, row: Int32Array, from: number): number {
  let [lo, hi] = [0, row.length]
  while (lo < hi) {
    const mid = (lo + hi) >> 1
    const i = row[mid]!
    if (t.x[i]! + t.width[i]! <= from) lo = mid + 1
    else hi = mid
  }
  return lo
}

function charWidth(ctx: CanvasRenderingContext2D, { widths }: Labels, char: string): number {
  let w = widths.get(char)
  if (w === undefined) widths.set(char, (w = ctx.measureText(char).width))
  return w
}

function widthOf(ctx: CanvasRenderingContext2D, labels: Labels, text: string): number {
  let sum = 0
  for (const c of text) sum += charWidth(ctx, labels, c)
  return sum
}

/** A text, cut to a width; nothing where not even two letters have room. */
function fitted(ctx: CanvasRenderingContext2D, labels: Labels, text: string, width: number): string {
  const dots = charWidth(ctx, labels, '…')
  let [at, sum, fits] = [0, 0, 0]
  for (const c of text) {
    sum += charWidth(ctx, labels, c)
    at += c.length
    if (sum + dots <= width) fits = at
    if (sum > width) return fits < 2 ? '' : `${text.slice(0, fits)}…`
  }
  return text
}
