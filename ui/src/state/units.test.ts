import { expect, test } from 'vitest'
import { bytes, duration, durationLiteral, middle, percent, rate, si } from './units'

const plain = (s: string) => s.replaceAll('\u00a0', ' ')

test.each([
  [-1, '–'],
  [0, '0 ns'],
  [850, '850 ns'],
  [999.6, '1 µs'],
  [12_345, '12.3 µs'],
  [999_499, '999 µs'],
  [999_600, '1 ms'],
  [1_240_000, '1.24 ms'],
  [123_400_000, '123 ms'],
  [2_050_000_000, '2.05 s'],
  [59_999_000_000, '1 min'],
  [80e9, '1 min 20 s'],
  [65e9, '1 min 05 s'],
  [7500e9, '2 h 05 min'],
  [273_600e9, '3 d 04 h'],
])('duration %d', (ns, want) => expect(plain(duration(ns))).toBe(want))

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1 KiB'],
  [1536, '1.5 KiB'],
  [1024 * 1024 - 1, '1 MiB'],
  [5 * 2 ** 40, '5 TiB'],
])('bytes %d', (n, want) => expect(plain(bytes(n))).toBe(want))

test('small is never shown as nothing', () => {
  expect(percent(0)).toBe('0%')
  expect(percent(0.00001)).toBe('<0.01%')
  expect(percent(0.99999)).toBe('>99.99%')
  expect(percent(0.0123)).toBe('1.23%')
  expect(percent(1)).toBe('100%')
  expect(rate(0)).toBe('0')
  expect(rate(0.001)).toBe('<0.01')
  expect(rate(12.34)).toBe('12.3')
  expect(rate(12345)).toBe('12,345')
})

test('durationLiteral is what the grammar reads', () => {
  expect([900, 1500, 1_240_000, 2_050_000_000].map(durationLiteral)).toEqual(['900ns', '1.5us', '1.24ms', '2.05s'])
})

test('si', () => expect([0, 0.25, 12, 3400, 5e6, -2e9].map(si)).toEqual(['0', '0.25', '12', '3.4k', '5M', '-2G']))

test('middle keeps both ends', () => {
  expect(middle('4bf92f3577b34da6a3ce929d0e0e4736')).toBe('4bf92f…0e4736')
  expect(middle('00f067aa', 6)).toBe('00f067aa')
})
