// A profile as a tree of calls, laid out once. Nodes are numbered in preorder,
// the heaviest child first: the descendants of i are i+1 … end[i]-1, and the
// nodes of a depth, by number, stand from left to right. All that is asked of a
// tree (children, searches, sums that count recursion once) is then one pass.

import type { FlameAnswer } from '../../api/profiles'

export const kinds = ['go', 'inline', 'c', 'kernel', 'other'] as const
export type Kind = (typeof kinds)[number]

/** What a tree is made of: parallel arrays, parents before children, the root first. */
export interface Nodes {
  /** Index into the names; -1 for the root that stands for everything. */
  name: ArrayLike<number>
  parent: ArrayLike<number>
  value: ArrayLike<number>
  /** Value on the other side of a comparison. */
  base?: ArrayLike<number>
}

export interface Names {
  names: readonly string[]
  kinds: readonly Kind[]
  /** file:line, or empty. */
  files: readonly string[]
}

export interface Tree extends Names {
  count: number
  name: Int32Array
  parent: Int32Array
  /** The number after the last descendant. */
  end: Int32Array
  depth: Int32Array
  value: Float64Array
  self: Float64Array
  base: Float64Array
  baseSelf: Float64Array
  compared: boolean
  /** What shares are of: the whole profile, also for a part of it. */
  total: number
  baseTotal: number
  /** Left edge and width, the root being from 0 to 1. */
  x: Float64Array
  width: Float64Array
  /** Nodes of each depth from left to right. */
  rows: Int32Array[]
}

/** Types of which each profile is the state of one moment: they are not added up but averaged. */
const moments: readonly string[] = ['heap', 'goroutine', 'threadcreate']

export const isMoment = (type: string): boolean => moments.includes(type)

/** The tree of an answer, below a root that stands for everything. */
export function fromAnswer(a: FlameAnswer, averaged = false): Tree {
  const n = a.nodes.name.length
  const part = averaged ? 1 / Math.max(1, a.profiles) : 1
  const basePart = averaged ? 1 / Math.max(1, a.base_profiles) : 1
  const [total, baseTotal] = [a.total * part, a.base_total * basePart]
  const name = new Int32Array(n + 1)
  const parent = new Int32Array(n + 1)
  const value = new Float64Array(n + 1)
  const base = a.nodes.base_value && new Float64Array(n + 1)
  name[0] = -1
  parent[0] = -1
  value[0] = total
  if (base) base[0] = baseTotal
  for (let i = 0; i < n; i++) {
    name[i + 1] = a.nodes.name[i]!
    parent[i + 1] = a.nodes.parent[i]! + 1
    value[i + 1] = a.nodes.value[i]! * part
    if (base) base[i + 1] = a.nodes.base_value![i]! * basePart
  }
  const known = a.names.map((_, i) => kinds.find((k) => k === a.kinds[i]) ?? 'other')
  return build({ name, parent, value, base }, { names: a.names, kinds: known, files: a.files }, total, baseTotal)
}

/** Lays out nodes. Shares are of total and baseTotal. */
export function build(nodes: Nodes, names: Names, total: number, baseTotal: number): Tree {
  const n = nodes.name.length
  const { base } = nodes
  // With two sides a frame is as wide as its mean share, so that what is gone is still to be seen.
  const scale = total > 0 ? 1 / total : 0
  const baseScale = baseTotal > 0 ? 1 / baseTotal : 0
  // Profiles that are differences themselves hold values below zero, which have no width.
  const weight = (i: number) => Math.max(0, nodes.value[i]! * scale) + (base ? Math.max(0, base[i]! * baseScale) : 0)

  // Children of each node by weight: counting sort by parent, then a sort of each family.
  const first = new Int32Array(n + 2)
  for (let i = 1; i < n; i++) first[nodes.parent[i]! + 2]!++
  for (let i = 2; i < n + 2; i++) first[i]! += first[i - 1]!
  const children = new Int32Array(Math.max(0, n - 1))
  for (let i = 1; i < n; i++) children[first[nodes.parent[i]! + 1]!++] = i
  for (let i = 0; i < n; i++) {
    const family = children.subarray(first[i], first[i + 1])
    if (family.length > 1) family.sort((a, b) => weight(b) - weight(a) || compareNames(names.names, nodes.name[a]!, nodes.name[b]!))
  }

  const t: Tree = {
    ...names, count: n, name: new Int32Array(n), parent: new Int32Array(n), end: new Int32Array(n), depth: new Int32Array(n), value: new Float64Array(n), self: new Float64Array(n),
    base: new Float64Array(n), baseSelf: new Float64Array(n), compared: base !== undefined, total, baseTotal, x: new Float64Array(n), width: new Float64Array(n), rows: [],
  }
  const whole = n > 0 ? weight(0) : 0
  const rows: number[][] = []
  // Preorder without recursion: stacks may be deeper than the engine's own.
  const stack: number[] = n > 0 ? [0] : []
  const parents: number[] = [-1]
  // Where the next child of a placed node begins.
  const cursor = new Float64Array(n)
  let at = 0
  while (stack.length > 0) {
    const i = stack.pop()!
    const parent = parents.pop()!
    const depth = parent < 0 ? 0 : t.depth[parent]! + 1
    t.name[at] = nodes.name[i]!
    t.parent[at] = parent
    t.depth[at] = depth
    t.value[at] = nodes.value[i]!
    if (base) t.base[at] = base[i]!
    t.width[at] = whole > 0 ? weight(i) / whole : 0
    t.x[at] = parent < 0 ? 0 : cursor[parent]!
    if (parent >= 0) cursor[parent]! += t.width[at]!
    cursor[at] = t.x[at]!
    ;(rows[depth] ??= []).push(at)
    for (let k = first[i + 1]! - 1; k >= first[i]!; k--) {
      stack.push(children[k]!)
      parents.push(at)
    }
    at++
  }
  t.end.fill(0)
  for (let i = n - 1; i >= 0; i--) {
    t.end[i] = Math.max(t.end[i]!, i + 1)
    t.self[i]! += t.value[i]!
    t.baseSelf[i]! += t.base[i]!
    const p = t.parent[i]!
    if (p < 0) continue
    t.end[p] = Math.max(t.end[p]!, t.end[i]!)
    t.self[p]! -= t.value[i]!
    t.baseSelf[p]! -= t.base[i]!
  }
  for (let i = 0; i < n; i++) {
    // What rounding left over is nobody's time.
    if (t.self[i]! < 0) t.self[i] = 0
    if (t.baseSelf[i]! < 0) t.baseSelf[i] = 0
  }
  t.rows = rows.map((r) => Int32Array.from(r))
  return t
}

function compareNames(names: readonly string[], a: number, b: number): number {
  const [x, y] = [names[a] ?? '', names[b] ?? '']
  return x < y ? -1 : x > y ? 1 : 0
}

export const nameOf = (t: Tree, i: number): string => t.names[t.name[i]!] ?? ''
export const kindOf = (t: Tree, i: number): Kind => t.kinds[t.name[i]!] ?? 'other'
export const fileOf = (t: Tree, i: number): string => t.files[t.name[i]!] ?? ''

/** The share of the whole, 0 when there is no whole. */
export const shareOf = (value: number, total: number): number => (total > 0 ? value / total : 0)

/** Nodes from the root to i. */
export function path(t: Tree, i: number): number[] {
  const out: number[] = []
  for (let k = i; k >= 0; k = t.parent[k]!) out.push(k)
  return out.reverse()
}

/** Two independent hashes of the way to each node, for links. */
function hashes(t: Tree): [Int32Array, Int32Array] {
  const [a, b] = [new Int32Array(t.count), new Int32Array(t.count)]
  const own = t.names.map((name, k) => {
    const text = `${t.kinds[k]}:${name}`
    let [h, g] = [0x811c9dc5, 5381]
    for (let c = 0; c < text.length; c++) {
      h = Math.imul(h ^ text.charCodeAt(c), 0x01000193)
      g = Math.imul(g, 33) ^ text.charCodeAt(c)
    }
    return [h, g] as const
  })
  for (let i = 0; i < t.count; i++) {
    const p = t.parent[i]!
    const [h, g] = own[t.name[i]!] ?? [1, 1]
    a[i] = Math.imul((p < 0 ? 7 : a[p]!) ^ h, 0x01000193) + 0x9e37
    b[i] = Math.imul((p < 0 ? 7 : b[p]!) + g, 0x5bd1e995) ^ (g >>> 13)
  }
  return [a, b]
}

const idText = (a: number, b: number): string => ((a >>> 0) * 2 ** 20 + (b >>> 12)).toString(36)

/** A name of a node that holds as long as the way to it exists, in any other profile too. */
export function idOf(t: Tree, i: number): string {
  const [a, b] = hashesOf(t)
  return idText(a[i]!, b[i]!)
}

/** The node of an id, or -1. */
export function byId(t: Tree, id: string | undefined): number {
  if (!id) return -1
  const [a, b] = hashesOf(t)
  for (let i = 0; i < t.count; i++) if (idText(a[i]!, b[i]!) === id) return i
  return -1
}

const kept = new WeakMap<Tree, [Int32Array, Int32Array]>()

function hashesOf(t: Tree): [Int32Array, Int32Array] {
  let h = kept.get(t)
  if (!h) kept.set(t, (h = hashes(t)))
  return h
}

/** The node at a place (0 to 1) of a depth, or -1. */
export function hit(t: Tree, depth: number, at: number): number {
  const row = t.rows[depth]
  if (!row) return -1
  // The last node that begins at or before the place.
  let [lo, hi] = [0, row.length]
  while (lo < hi) {
    const mid = (lo + hi) >> 1
    if (t.x[row[mid]!]! <= at) lo = mid + 1
    else hi = mid
  }
  const i = row[lo - 1]
  return i !== undefined && at < t.x[i]! + t.width[i]! ? i : -1
}

export type Step = 'up' | 'down' | 'left' | 'right'

/** Where a key leads: the caller, the heaviest callee, or the neighbour at the same depth below `within`. */
export function walk(t: Tree, i: number, step: Step, within = 0): number {
  switch (step) {
    case 'up': return Math.max(0, t.parent[i]!)
    case 'down': return t.end[i]! > i + 1 ? i + 1 : i
    case 'left':
    case 'right': {
      const row = t.rows[t.depth[i]!]!
      const next = row[row.indexOf(i) + (step === 'left' ? -1 : 1)]
      return next !== undefined && next > within && next < t.end[within]! ? next : i
    }
  }
}
