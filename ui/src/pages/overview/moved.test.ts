import { describe, expect, test } from 'vitest'
import { moved } from './moved'

const s = (name: string, more: Partial<{ rate: number; errorRate: number; p95: number; stored: number }> = {}) => ({ name, rate: 10, errorRate: 0, p95: 1e6, stored: 1000, ...more })
const kinds = (before: ReturnType<typeof s>[], after: ReturnType<typeof s>[]) => moved(before, after).map((m) => `${m.service} ${m.kind} ${m.sense}`)

test('what stays the same is not told', () => expect(moved([s('a')], [s('a')])).toEqual([]))

describe('errors', () => {
  test('many more are worse, fewer are better', () => {
    expect(kinds([s('a')], [s('a', { errorRate: 0.05 })])).toEqual(['a errors worse'])
    expect(kinds([s('a', { errorRate: 0.05 })], [s('a')])).toEqual(['a errors better'])
  })
  test('what may be chance is not told', () => {
    expect(moved([s('a', { stored: 40 })], [s('a', { stored: 40, errorRate: 0.05 })])).toEqual([])
    expect(moved([s('a', { stored: 5 })], [s('a', { stored: 5, errorRate: 1 })])).toEqual([])
  })
  test('nor what is too small to matter', () => expect(moved([s('a', { stored: 1e7 })], [s('a', { stored: 1e7, errorRate: 0.001 })])).toEqual([]))
})

test('latency beyond what percentiles can be wrong by', () => {
  expect(moved([s('a')], [s('a', { p95: 1.2e6 })])).toEqual([])
  expect(kinds([s('a')], [s('a', { p95: 2e6 })])).toEqual(['a latency worse'])
  expect(moved([s('a', { p95: -1 })], [s('a')])).toEqual([])
})

test('rate, and services that come and go', () => {
  expect(kinds([s('a'), s('gone')], [s('a', { rate: 20, stored: 2000 }), s('new')])).toEqual(['gone vanished worse', 'new appeared changed', 'a rate changed'])
  expect(moved([s('a', { rate: 1, stored: 4 })], [s('a', { rate: 2, stored: 8 })])).toEqual([])
})

test('the worst stand first', () => {
  expect(kinds([s('a'), s('b'), s('c')], [s('a', { p95: 3e6 }), s('b', { errorRate: 0.1 }), s('c', { errorRate: 0.5 })])).toEqual(['c errors worse', 'b errors worse', 'a latency worse'])
})
