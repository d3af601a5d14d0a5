// Where things are in a heat map: time to the right, values upwards on a
// logarithmic axis. No drawing here, so that hits can be tested.

export interface Cell {
  /** Column, counted from the start. */
  x: number
  /** Values from lo up to, not including, hi. */
  lo: number
  hi: number
  count: number
  errors: number
}

export interface Grid {
  /** Unix milliseconds. */
  start: number
  stepMs: number
  columns: number
  cells: readonly Cell[]
}

export interface Plane {
  width: number
  height: number
  start: number
  end: number
  lo: number
  hi: number
}

/** A selection; a bound of 0 means as far as it goes. */
export interface Box {
  start: number
  end: number
  min: number
  max: number
}

/** An axis shows at least so many times its lowest value, so that few cells do not fill the picture. */
const leastRatio = 64

/** The plane that holds all cells of a grid. */
export function planeOf(grid: Grid, width: number, height: number): Plane {
  let lo = Infinity
  let hi = 0
  for (const c of grid.cells) {
    if (c.lo > 0) lo = Math.min(lo, c.lo)
    if (Number.isFinite(c.hi)) hi = Math.max(hi, c.hi)
  }
  if (!(hi > 0 && lo < Infinity)) [lo, hi] = [1e6, 1e9]
  const missing = leastRatio / (hi / lo)
  if (missing > 1) {
    lo /= Math.sqrt(missing)
    hi *= Math.sqrt(missing)
  }
  return { width, height, start: grid.start, end: grid.start + grid.columns * grid.stepMs, lo, hi }
}

export function toX(p: Plane, at: number): number {
  return ((at - p.start) / (p.end - p.start)) * p.width
}

/** Values below the axis, also zero, lie on its bottom. */
export function toY(p: Plane, value: number): number {
  const v = Math.min(p.hi, Math.max(p.lo, value))
  return p.height * (1 - Math.log(v / p.lo) / Math.log(p.hi / p.lo))
}

export function fromX(p: Plane, x: number): number {
  return p.start + (Math.min(p.width, Math.max(0, x)) / p.width) * (p.end - p.start)
}

export function fromY(p: Plane, y: number): number {
  const share = 1 - Math.min(p.height, Math.max(0, y)) / p.height
  return p.lo * (p.hi / p.lo) ** share
}

/** Cells by column, each column from low to high; finds cells and edges. */
export class Index {
  private readonly byColumn = new Map<number, Cell[]>()
  /** All values at which a cell begins or ends, rising. */
  readonly edges: readonly number[]
  readonly least: number
  readonly most: number

  constructor(private readonly grid: Grid) {
    const edges = new Set<number>()
    let least = Infinity
    let most = 0
    for (const c of grid.cells) {
      const column = this.byColumn.get(c.x)
      if (column) column.push(c)
      else this.byColumn.set(c.x, [c])
      edges.add(c.lo).add(c.hi)
      least = Math.min(least, c.count)
      most = Math.max(most, c.count)
    }
    for (const column of this.byColumn.values()) column.sort((a, b) => a.lo - b.lo)
    this.edges = [...edges].sort((a, b) => a - b)
    this.least = least
    this.most = most
  }

  /** The cell under a point of the plane. */
  hit(p: Plane, x: number, y: number): Cell | undefined {
    if (x < 0 || y < 0 || x >= p.width || y >= p.height) return undefined
    const column = this.byColumn.get(Math.floor((fromX(p, x) - this.grid.start) / this.grid.stepMs))
    const value = fromY(p, y)
    return column?.find((c) => value >= c.lo && value < c.hi)
  }

  /**
   * The box between two points, grown to whole columns and cells. A side that
   * reaches the border of the plane is open.
   */
  box(p: Plane, x0: number, y0: number, x1: number, y1: number): Box {
    const { start, stepMs, columns } = this.grid
    const column = (x: number) => (fromX(p, x) - start) / stepMs
    const from = Math.min(columns - 1, Math.floor(column(Math.min(x0, x1)) + 1e-9))
    const to = Math.max(from + 1, Math.ceil(column(Math.max(x0, x1)) - 1e-9))
    const top = Math.min(y0, y1)
    const bottom = Math.max(y0, y1)
    const low = fromY(p, bottom)
    const high = fromY(p, top)
    const min = this.edges.findLast((e) => e <= low * (1 + 1e-9)) ?? low
    const max = this.edges.find((e) => e >= high * (1 - 1e-9)) ?? high
    return {
      start: start + from * stepMs,
      end: start + Math.min(columns, to) * stepMs,
      min: bottom >= p.height - 1 ? 0 : min,
      max: top <= 1 || !Number.isFinite(max) ? 0 : max,
    }
  }

  /** How many there are in a box, for its label. */
  inside(box: Box): { count: number; errors: number } {
    let count = 0
    let errors = 0
    for (const c of this.grid.cells) {
      const at = this.grid.start + c.x * this.grid.stepMs
      if (at < box.start - 1e-6 || at >= box.end - 1e-6) continue
      if (c.lo < box.min * (1 - 1e-9) || (box.max > 0 && c.hi > box.max * (1 + 1e-9))) continue
      count += c.count
      errors += c.errors
    }
    return { count, errors }
  }
}

/** How strongly the palest cell is painted: it must still differ from the ground. */
const faintest = 0.1

/** How strongly a cell is painted, 0 to 1: logarithmic, so that single spans stay in sight beside thousands. */
export function share(count: number, least: number, most: number): number {
  if (most <= least) return 0.5
  return faintest + (1 - faintest) * (Math.log(count / least) / Math.log(most / least))
}

/** A box in pixels, for drawing. */
export function rectOf(p: Plane, box: Box): { left: number; top: number; width: number; height: number } {
  const left = Math.max(0, toX(p, box.start))
  const right = Math.min(p.width, toX(p, box.end))
  const top = box.max === 0 ? 0 : toY(p, box.max)
  const bottom = box.min === 0 ? p.height : toY(p, box.min)
  return { left, top, width: Math.max(1, right - left), height: Math.max(1, bottom - top) }
}

/** The lower edge of a quarter octave: band b holds 2^(b/4) up to 2^((b+1)/4) nanoseconds. */
export function bandEdge(band: number): number {
  return 2 ** (band / 4)
}
