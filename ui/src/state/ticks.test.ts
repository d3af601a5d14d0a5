import { expect, test } from 'vitest'
import { binaryTicks, linearTicks, logTicks, timeStep, timeTicks } from './ticks'

test('time ticks are round in their zone and not too many', () => {
  const start = Date.UTC(2026, 0, 2, 15, 4, 5)
  const { step, ticks } = timeTicks(start, start + 3_600_000, 8, 0)
  expect(step).toBe(600_000)
  expect(ticks.map((t) => new Date(t).toISOString().slice(11, 16))).toEqual(['15:10', '15:20', '15:30', '15:40', '15:50', '16:00'])
  // Half past the hour in UTC is a full hour in India.
  expect(timeTicks(start, start + 86_400_000, 6, 330).ticks[0]! % 3_600_000).toBe(1_800_000)
  for (const width of [10, 999, 61_000, 1e7, 1e9, 1e12]) expect(width / timeStep(width, 7)).toBeLessThanOrEqual(7)
})

test('linear ticks', () => {
  expect(linearTicks(0, 1, 5)).toEqual([0, 0.2, 0.4, 0.6000000000000001, 0.8, 1])
  expect(linearTicks(0, 97, 5)).toEqual([0, 20, 40, 60, 80])
  expect(linearTicks(0, 0.046, 2)).toEqual([0, 0.02, 0.04])
  expect(linearTicks(3, 3, 5)).toEqual([])
})

test('binary ticks', () => {
  expect(binaryTicks(0, 20 * 2 ** 20, 4)).toEqual([0, 8 * 2 ** 20, 16 * 2 ** 20])
  expect(binaryTicks(0, 0, 4)).toEqual([])
})

test('log ticks', () => {
  expect(logTicks(1e6, 1e9, 4)).toEqual([1e6, 1e7, 1e8, 1e9])
  expect(logTicks(1e6, 1e7, 8)).toEqual([1e6, 2e6, 5e6, 1e7])
  expect(logTicks(0, 10, 4)).toEqual([])
})
