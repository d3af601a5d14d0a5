import { describe, expect, test } from 'vitest'
import { absolute, formatSpan, parseMoment, parseSpan, parseTime, resolve, shift, widen } from './range'

const now = Date.UTC(2026, 0, 2, 15, 4, 5)

describe('parseSpan', () => {
  test.each([
    ['15m', 900_000],
    ['1h30m', 5_400_000],
    ['7d', 604_800_000],
    ['1.5s', 1500],
    ['200ms', 200],
  ])('%s', (text, want) => expect(parseSpan(text)).toBe(want))
  test.each(['', '15', 'm', '15m ', '15x', '-1h'])('refuses %j', (text) => expect(parseSpan(text)).toBeUndefined())
  test('formatSpan is its inverse', () => {
    for (const ms of [1, 1500, 900_000, 5_400_000, 604_800_000, 90_061_001]) expect(parseSpan(formatSpan(ms))).toBe(ms)
  })
})

describe('parseMoment', () => {
  test.each([
    ['now', now],
    ['now-15m', now - 900_000],
    ['now+1h', now + 3_600_000],
    [String(now), now],
    [String(now / 1000), now],
    ['2026-01-02T15:04:05Z', now],
  ])('%s', (text, want) => expect(parseMoment(text, now)).toBe(want))
  test.each(['', 'yesterday', 'now-', 'now15m', '12'])('refuses %j', (text) =>
    expect(parseMoment(text, now)).toBeUndefined(),
  )
})

test('resolve falls back when the URL is broken', () => {
  expect(resolve({ from: 'junk', to: 'now' }, now)).toEqual({ start: now - 3_600_000, end: now })
  expect(resolve({ from: 'now', to: 'now-1h' }, now).start).toBeLessThan(now)
})

test('shift and widen keep the width or double it', () => {
  const w = { start: now - 1000, end: now }
  expect(shift(w, -1)).toEqual(absolute({ start: now - 2000, end: now - 1000 }))
  expect(widen(w, now)).toEqual(absolute({ start: now - 2000, end: now }))
  expect(widen({ start: now - 3000, end: now - 2000 }, now)).toEqual(absolute({ start: now - 3500, end: now - 1500 }))
})

test('parseTime keeps what is finer than a millisecond', () => {
  expect(parseTime('2026-01-02T15:04:05.123456Z')).toBeCloseTo(now + 123.456, 3)
  expect(parseTime('2026-01-02T15:04:05Z')).toBe(now)
})
