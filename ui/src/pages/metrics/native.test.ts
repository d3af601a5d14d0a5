import { expect, test } from 'vitest'
import { gridOf } from './native'

test('a column is a step, a cell is a bucket', () => {
  const series = { labels: {}, points: [], histograms: [[100, [{ lo: 1, hi: 2, count: 5 }, { lo: 2, hi: 4, count: 0 }]], [130, [{ lo: -1, hi: 1, count: 1 }, { lo: -4, hi: -2, count: 9 }]]] as [number, { lo: number; hi: number; count: number }[]][] }
  expect(gridOf(series, 95_000, 160_000, 15)).toEqual({
    start: 90_000, stepMs: 15_000, columns: 5,
    cells: [{ x: 1, lo: 1, hi: 2, count: 5, errors: 0 }, { x: 3, lo: 0, hi: 1, count: 1, errors: 0 }],
  })
})
