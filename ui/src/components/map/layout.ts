// A layered drawing of who calls whom, after Sugiyama, Tagawa and Toda (1981):
// break cycles, give layers by longest path, order the layers by barycentres
// to avoid crossings, then straighten. Worked out from left to right; drawn
// downwards, the axes change places.

export interface Placed {
  name: string
  x: number
  y: number
}

export interface Route {
  from: string
  to: string
  /** Points that the edge passes, both ends included. */
  points: { x: number; y: number }[]
}

export interface Layout {
  /** Whether calls go from the top downwards instead of to the right. */
  down: boolean
  nodes: Placed[]
  routes: Route[]
  width: number
  height: number
}

export const nodeWidth = 176
export const nodeHeight = 48

export interface Options {
  down?: boolean
  /** Room between layers: for the figures of calls, or only for arrows. */
  layerGap?: number
  /** Room between neighbours in a layer. */
  rowGap?: number
}

/** Enough sweeps for the order to settle on graphs that a person can read. */
const sweeps = 12

interface Cell {
  id: string
  layer: number
  /** Centre. */
  y: number
  /** Half its height; a bend needs less room than a node. */
  half: number
  before: Cell[]
  after: Cell[]
}

export function layout(names: readonly string[], edges: readonly { from: string; to: string }[], { down = false, layerGap = 120, rowGap = 32 }: Options = {}): Layout {
  // Along the layers, and across them.
  const [along, across] = down ? [nodeHeight, nodeWidth] : [nodeWidth, nodeHeight]
  const sorted = [...names].sort()
  const known = new Set(sorted)
  const links = edges.filter((e) => e.from !== e.to && known.has(e.from) && known.has(e.to))
  const forward = acyclic(sorted, links)
  const layerOf = layers(sorted, forward)

  const cells = new Map<string, Cell>()
  const cell = (id: string, layer: number, half: number) => {
    const c: Cell = { id, layer, y: 0, half, before: [], after: [] }
    cells.set(id, c)
    return c
  }
  for (const n of sorted) cell(n, layerOf.get(n)!, across / 2)
  const paths = forward.map((e) => {
    const path = [cells.get(e.from)!]
    for (let l = layerOf.get(e.from)! + 1; l < layerOf.get(e.to)!; l++) path.push(cell(`${e.from}\0${e.to}\0${l}`, l, 4))
    path.push(cells.get(e.to)!)
    for (let i = 1; i < path.length; i++) {
      path[i - 1]!.after.push(path[i]!)
      path[i]!.before.push(path[i - 1]!)
    }
    return { edge: e, path }
  })

  const rows = order([...cells.values()])
  straighten(rows, rowGap)

  const at = (layer: number) => layer * (along + layerGap) + along / 2
  const point = (x: number, y: number) => (down ? { x: y, y: x } : { x, y })
  const routes = paths.map(({ edge, path }) => {
    const ends = path.map((c, i) => {
      // Leave and reach nodes at their sides.
      const side = i === 0 ? along / 2 : i === path.length - 1 ? -along / 2 : 0
      return point(at(c.layer) + side, c.y)
    })
    if (edge.reversed) ends.reverse()
    return { from: edge.reversed ? edge.to : edge.from, to: edge.reversed ? edge.from : edge.to, points: ends }
  })
  const all = [...cells.values()]
  const size = point(Math.max(0, ...all.map((c) => at(c.layer) + along / 2)), Math.max(0, ...all.map((c) => c.y + c.half)))
  return {
    down,
    nodes: sorted.map((name) => ({ name, ...point(at(cells.get(name)!.layer), cells.get(name)!.y) })),
    routes,
    width: size.x,
    height: size.y,
  }
}

interface Directed {
  from: string
  to: string
  reversed: boolean
}

/** Turns round the edges that close a cycle. */
function acyclic(names: readonly string[], edges: readonly { from: string; to: string }[]): Directed[] {
  const out = new Map<string, string[]>(names.map((n) => [n, []]))
  const incoming = new Map<string, number>(names.map((n) => [n, 0]))
  for (const e of edges) {
    out.get(e.from)!.push(e.to)
    incoming.set(e.to, incoming.get(e.to)! + 1)
  }
  const state = new Map<string, 'open' | 'done'>()
  const back = new Set<string>()
  const visit = (n: string) => {
    state.set(n, 'open')
    for (const m of out.get(n)!) {
      if (state.get(m) === 'open') back.add(`${n}\0${m}`)
      else if (!state.has(m)) visit(m)
    }
    state.set(n, 'done')
  }
  // From those nobody calls, so that a cycle is entered where requests enter.
  for (const n of [...names].sort((a, b) => incoming.get(a)! - incoming.get(b)!)) if (!state.has(n)) visit(n)
  const seen = new Set<string>()
  const directed: Directed[] = []
  for (const e of edges) {
    const reversed = back.has(`${e.from}\0${e.to}`)
    const d = reversed ? { from: e.to, to: e.from, reversed } : { from: e.from, to: e.to, reversed }
    const key = `${e.from}\0${e.to}`
    if (!seen.has(key)) directed.push(d)
    seen.add(key)
  }
  return directed
}

/** The longest way to each node, then leaves drawn close to who calls them. */
function layers(names: readonly string[], edges: readonly Directed[]): Map<string, number> {
  const before = new Map<string, string[]>(names.map((n) => [n, []]))
  const after = new Map<string, string[]>(names.map((n) => [n, []]))
  for (const e of edges) {
    before.get(e.to)!.push(e.from)
    after.get(e.from)!.push(e.to)
  }
  const layer = new Map<string, number>()
  const depth = (n: string): number => {
    const have = layer.get(n)
    if (have !== undefined) return have
    const d = Math.max(0, ...before.get(n)!.map((m) => depth(m) + 1))
    layer.set(n, d)
    return d
  }
  for (const n of names) depth(n)
  // A source stands right before the first it calls, not at the far left.
  for (const n of names) {
    const next = after.get(n)!
    if (before.get(n)!.length === 0 && next.length > 0) layer.set(n, Math.min(...next.map((m) => layer.get(m)!)) - 1)
  }
  return layer
}

/** Cells by layer, ordered so that few edges cross. */
function order(cells: Cell[]): Cell[][] {
  const rows: Cell[][] = []
  for (const c of cells) (rows[c.layer] ??= []).push(c)
  for (let i = 0; i < rows.length; i++) rows[i] ??= []
  const place = () => {
    for (const row of rows) row.forEach((c, i) => (c.y = i))
  }
  place()
  let best = rows.map((r) => [...r])
  let fewest = crossings(rows)
  for (let s = 0; s < sweeps && fewest > 0; s++) {
    const down = s % 2 === 0
    const sequence = down ? rows : [...rows].reverse()
    for (const row of sequence) {
      const centre = new Map(row.map((c) => [c, mean(down ? c.before : c.after) ?? c.y]))
      row.sort((a, b) => centre.get(a)! - centre.get(b)!)
      row.forEach((c, i) => (c.y = i))
    }
    const n = crossings(rows)
    if (n < fewest) {
      fewest = n
      best = rows.map((r) => [...r])
    }
  }
  best.forEach((row, i) => (rows[i] = row))
  place()
  return rows
}

function mean(cells: Cell[]): number | undefined {
  return cells.length === 0 ? undefined : cells.reduce((s, c) => s + c.y, 0) / cells.length
}

function crossings(rows: Cell[][]): number {
  let n = 0
  for (const row of rows) {
    const ends = row.flatMap((c, i) => c.after.map((d) => [i, d.y] as const))
    for (let i = 0; i < ends.length; i++)
      for (let j = i + 1; j < ends.length; j++) if ((ends[i]![0] - ends[j]![0]) * (ends[i]![1] - ends[j]![1]) < 0) n++
  }
  return n
}

/** Gives heights: every cell near the middle of its neighbours, none above another. */
function straighten(rows: Cell[][], rowGap: number): void {
  for (const row of rows) {
    let y = 0
    for (const c of row) {
      c.y = y + c.half
      y += 2 * c.half + rowGap
    }
  }
  for (let s = 0; s < sweeps; s++) {
    for (const row of s % 2 === 0 ? rows : [...rows].reverse()) {
      const wish = row.map((c) => mean([...c.before, ...c.after]) ?? c.y)
      spread(row, wish, rowGap)
    }
  }
  const top = Math.min(...rows.flat().map((c) => c.y - c.half))
  for (const c of rows.flat()) c.y -= top
}

/**
 * Places a row as close as possible to its wishes without overlaps: cells that
 * would overlap form a block around the mean of their wishes (pool adjacent
 * violators).
 */
function spread(row: Cell[], wish: number[], rowGap: number): void {
  const offset: number[] = []
  row.forEach((c, i) => offset.push(i === 0 ? 0 : offset[i - 1]! + row[i - 1]!.half + rowGap + c.half))
  const blocks: { from: number; sum: number; n: number }[] = []
  row.forEach((_, i) => {
    blocks.push({ from: i, sum: wish[i]! - offset[i]!, n: 1 })
    while (blocks.length > 1) {
      const [a, b] = [blocks.at(-2)!, blocks.at(-1)!]
      if (a.sum / a.n <= b.sum / b.n) break
      a.sum += b.sum
      a.n += b.n
      blocks.pop()
    }
  })
  for (const b of blocks) for (let i = b.from; i < b.from + b.n; i++) row[i]!.y = b.sum / b.n + offset[i]!
}
