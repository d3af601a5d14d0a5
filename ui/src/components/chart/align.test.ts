import { expect, test } from 'vitest'
import { align } from './align'

test('lines end where no series has a point', () => {
  const { times, lines } = align(
    [
      { labels: { a: '1' }, points: [[0, 1], [15, 2], [600, 3]] },
      { labels: { a: '2' }, points: [[15, 4], [30, NaN]] },
    ],
    15,
  )
  expect(times).toEqual([0, 15_000, 30_000, 45_000, 600_000])
  expect(lines.map((l) => l.values)).toEqual([
    [1, 2, null, null, 3],
    [null, 4, null, null, null],
  ])
})
