import { describe, expect, test } from 'vitest'
import { bandEdge, type Cell, fromX, fromY, type Grid, Index, planeOf, rectOf, share, toX, toY } from './geometry'

const cell = (x: number, band: number, count = 1, errors = 0): Cell => ({ x, lo: bandEdge(band), hi: bandEdge(band + 1), count, errors })
const start = 1_700_000_000_000
const grid: Grid = { start, stepMs: 1000, columns: 10, cells: [cell(0, 80, 5), cell(2, 92, 3, 1), cell(2, 93, 9), cell(9, 110, 100, 100)] }
const plane = planeOf(grid, 500, 300)
const index = new Index(grid)
const centre = (c: Cell) => [toX(plane, start + (c.x + 0.5) * 1000), toY(plane, Math.sqrt(c.lo * c.hi))] as const

test('pixels and values are inverse to each other', () => {
  for (const x of [0, 1, 250, 499.5, 500]) expect(toX(plane, fromX(plane, x))).toBeCloseTo(x, 6)
  for (const y of [0, 1, 150, 299.5, 300]) expect(toY(plane, fromY(plane, y))).toBeCloseTo(y, 6)
})

describe('hit', () => {
  test('finds each cell at its centre', () => {
    for (const c of grid.cells) expect(index.hit(plane, ...centre(c))).toBe(c)
  })
  test('borders belong to the cell that begins there', () => {
    expect(index.hit(plane, toX(plane, start + 2000), toY(plane, bandEdge(93)) - 0.01)).toBe(grid.cells[2])
    expect(index.hit(plane, toX(plane, start + 2000) - 0.01, centre(grid.cells[2]!)[1])).toBeUndefined()
  })
  test('nothing outside, and nothing between', () => {
    expect(index.hit(plane, -1, 10)).toBeUndefined()
    expect(index.hit(plane, 10, 300)).toBeUndefined()
    expect(index.hit(plane, 500, 10)).toBeUndefined()
    expect(index.hit(plane, toX(plane, start + 5500), 100)).toBeUndefined()
  })
})

describe('box', () => {
  test('a click selects exactly its cell', () => {
    const [x, y] = centre(grid.cells[1]!)
    const b = index.box(plane, x, y, x, y)
    expect(b.start).toBe(start + 2000)
    expect(b.end).toBe(start + 3000)
    expect(b.min).toBeCloseTo(bandEdge(92), 3)
    expect(b.max).toBeCloseTo(bandEdge(93), 3)
    expect(index.inside(b)).toEqual({ count: 3, errors: 1 })
  })
  test('is the same from any corner', () => {
    const want = index.box(plane, 60, 40, 200, 220)
    expect(index.box(plane, 200, 220, 60, 40)).toEqual(want)
    expect(index.box(plane, 60, 220, 200, 40)).toEqual(want)
  })
  test('sides at the border are open', () => {
    const b = index.box(plane, -20, -20, 600, 400)
    expect(b).toEqual({ start, end: start + 10_000, min: 0, max: 0 })
    expect(index.inside(b)).toEqual({ count: 117, errors: 101 })
    expect(rectOf(plane, b)).toEqual({ left: 0, top: 0, width: 500, height: 300 })
  })
  test('its rectangle holds the points', () => {
    const b = index.box(plane, 60, 40, 200, 220)
    const r = rectOf(plane, b)
    expect(r.left).toBeLessThanOrEqual(60)
    expect(r.left + r.width).toBeGreaterThanOrEqual(200)
    expect(r.top).toBeLessThanOrEqual(40 + 1e-6)
    expect(r.top + r.height).toBeGreaterThanOrEqual(220 - 1e-6)
  })
})

test('a plane without cells, or with few, is still a plane', () => {
  const none = planeOf({ ...grid, cells: [] }, 100, 100)
  expect(none.hi).toBeGreaterThan(none.lo)
  const one = planeOf({ ...grid, cells: [cell(0, 80)] }, 100, 100)
  expect(one.hi / one.lo).toBeCloseTo(64, 6)
  expect(new Index({ ...grid, cells: [] }).box(none, 10, 10, 20, 20).end).toBeGreaterThan(start)
})

test('share', () => {
  expect(share(7, 7, 7)).toBe(0.5)
  expect(share(100, 1, 100)).toBe(1)
  expect(share(40, 40, 4000)).toBeGreaterThan(0.05)
  expect(share(10, 1, 100)).toBeCloseTo(0.55, 6)
})
