// A trace as pictures need it: in tree order, with self time, lanes and sums.
// Built once a trace; 10,000 spans take a few milliseconds.

import type { Schemas } from '../../api/client'

export type Trace = Schemas['Trace']
export type Span = Schemas['Span']
export type Interval = Schemas['Interval']

export interface Row {
  span: Span
  depth: number
  /** Index of the parent's row; -1 for a root. */
  parent: number
  /** Rows from here up to, not including, end are the span and all below it. */
  end: number
  children: number
}

export interface Model {
  trace: Trace
  /** In tree order, siblings by start. */
  rows: Row[]
  rowOf: Map<string, number>
  /** Nanoseconds from the start of the trace to its latest end. */
  total: number
  /** Nanoseconds of the critical path. */
  critical: number
  depth: number
}

export function build(trace: Trace): Model {
  const spans = trace.spanList
  const indexOf = new Map(spans.map((s, i) => [s.spanId, i]))
  const children: number[][] = spans.map(() => [])
  const roots: number[] = []
  spans.forEach((s, i) => {
    const p = indexOf.get(s.parentSpanId)
    if (p === undefined || p === i) roots.push(i)
    else children[p]!.push(i)
  })
  const byStart = (a: number, b: number) => spans[a]!.offsetNs - spans[b]!.offsetNs || a - b
  roots.sort(byStart)

  const rows: Row[] = []
  const visited = new Uint8Array(spans.length)
  // Without recursion: a trace may be deeper than the stack.
  const walk = (root: number) => {
    const stack: { i: number; parent: number; depth: number; open: number }[] = [{ i: root, parent: -1, depth: 0, open: -1 }]
    while (stack.length > 0) {
      const top = stack.at(-1)!
      if (top.open >= 0) {
        rows[top.open]!.end = rows.length
        stack.pop()
        continue
      }
      if (visited[top.i]) {
        stack.pop()
        continue
      }
      visited[top.i] = 1
      top.open = rows.length
      const below = children[top.i]!.sort(byStart)
      rows.push({ span: spans[top.i]!, depth: top.depth, parent: top.parent, end: rows.length + 1, children: below.length })
      for (let k = below.length - 1; k >= 0; k--) stack.push({ i: below[k]!, parent: top.open, depth: top.depth + 1, open: -1 })
    }
  }
  for (const r of roots) walk(r)
  // Spans that are each other's parent hang from no root.
  spans.forEach((_, i) => !visited[i] && walk(i))

  let total = 1
  let critical = 0
  let depth = 0
  for (const { span, depth: d } of rows) {
    total = Math.max(total, span.offsetNs + span.durationNs)
    critical += length(span.critical)
    depth = Math.max(depth, d + 1)
  }
  return { trace, rows, rowOf: new Map(rows.map((r, i) => [r.span.spanId, i])), total: Math.max(total, trace.durationNs), critical, depth }
}

export function length(intervals: readonly Interval[]): number {
  return intervals.reduce((sum, c) => sum + c.toNs - c.fromNs, 0)
}

/** Indexes of the rows that no collapsed row hides. */
export function visible(rows: readonly Row[], collapsed: ReadonlySet<string>): number[] {
  const out: number[] = []
  for (let i = 0; i < rows.length; ) {
    out.push(i)
    i = collapsed.has(rows[i]!.span.spanId) ? rows[i]!.end : i + 1
  }
  return out
}

/** Opens what hides a row. */
export function reveal(rows: readonly Row[], collapsed: ReadonlySet<string>, row: number): ReadonlySet<string> {
  let out: Set<string> | undefined
  for (let p = rows[row]?.parent ?? -1; p >= 0; p = rows[p]!.parent) {
    const id = rows[p]!.span.spanId
    if (!collapsed.has(id)) continue
    out ??= new Set(collapsed)
    out.delete(id)
  }
  return out ?? collapsed
}

/** When a span itself works: its time without that of its children. */
export function selfTime(rows: readonly Row[], row: number): Interval[] {
  const { span, end } = rows[row]!
  const [from, to] = [span.offsetNs, span.offsetNs + span.durationNs]
  const out: Interval[] = []
  let at = from
  // Children are in order of start, so that one sweep finds the gaps.
  for (let i = row + 1; i < end; i = rows[i]!.end) {
    const child = rows[i]!.span
    const childFrom = Math.min(child.offsetNs, to)
    if (childFrom > at) out.push({ fromNs: at, toNs: childFrom })
    at = Math.max(at, Math.min(to, child.offsetNs + child.durationNs))
  }
  if (to > at) out.push({ fromNs: at, toNs: to })
  return out
}

/** A stretch of a picture, as shares of its width. */
export interface Piece {
  left: number
  width: number
}

/**
 * Intervals as pieces of a view from one time to another. What lies outside is
 * cut off; pieces closer than a pixel are joined, so that a long span with a
 * thousand children costs no thousand elements.
 */
export function pieces(intervals: readonly Interval[], from: number, to: number, pixels: number): Piece[] {
  const out: Piece[] = []
  const scale = 1 / (to - from)
  const gap = 1 / Math.max(1, pixels)
  for (const i of intervals) {
    const left = Math.max(0, (i.fromNs - from) * scale)
    const right = Math.min(1, (i.toNs - from) * scale)
    if (right <= left) continue
    const last = out.at(-1)
    if (last && left - (last.left + last.width) < gap && left >= last.left) last.width = Math.max(last.width, right - last.left)
    else out.push({ left, width: right - left })
  }
  return out
}

/**
 * Lanes for a flame graph over time: a span stands below its parent, siblings
 * that overlap in time stand below each other. In order of start.
 */
export function lanes(model: Model): { lane: Uint32Array; count: number } {
  const { rows } = model
  const order = rows.map((_, i) => i).sort((a, b) => rows[a]!.span.offsetNs - rows[b]!.span.offsetNs || rows[a]!.depth - rows[b]!.depth)
  const lane = new Uint32Array(rows.length)
  const placed = new Uint8Array(rows.length)
  const busyUntil: number[] = []
  for (const i of order) {
    const { span, parent, depth } = rows[i]!
    // With skewed clocks a child may begin before its parent.
    let l = parent < 0 ? 0 : placed[parent] ? lane[parent]! + 1 : depth
    while ((busyUntil[l] ?? -1) > span.offsetNs) l++
    for (let k = busyUntil.length; k < l; k++) busyUntil[k] = -1
    busyUntil[l] = span.offsetNs + span.durationNs
    lane[i] = l
    placed[i] = 1
  }
  return { lane, count: busyUntil.length }
}

export interface Sum {
  key: string
  service: string
  name: string
  count: number
  errors: number
  total: number
  self: number
  max: number
  critical: number
  /** The longest of them. */
  longest: string
}

/** Spans by service and name. */
export function sums(model: Model): Sum[] {
  const groups = new Map<string, Sum>()
  for (const { span } of model.rows) {
    const key = `${span.service}\0${span.name}`
    let g = groups.get(key)
    if (!g) groups.set(key, (g = { key, service: span.service, name: span.name, count: 0, errors: 0, total: 0, self: 0, max: -1, critical: 0, longest: '' }))
    g.count++
    if (span.status === 'error') g.errors++
    g.total += span.durationNs
    g.self += span.selfNs
    g.critical += length(span.critical)
    if (span.durationNs > g.max) {
      g.max = span.durationNs
      g.longest = span.spanId
    }
  }
  return [...groups.values()].sort((a, b) => b.self - a.self)
}

/** The next member of a rising list after a position, around the end. */
export function following(sorted: readonly number[], after: number, forward: boolean): number | undefined {
  if (sorted.length === 0) return undefined
  return forward ? (sorted.find((i) => i > after) ?? sorted[0]) : (sorted.findLast((i) => i < after) ?? sorted.at(-1))
}
