import { expect, test } from 'vitest'
import { formatBox, keepFor, parseBox, parseSearch, parseSort, parseZoom, rangePatch, stringifySearch, validateSearch } from './url'

test('a search survives the address bar', () => {
  const search = { from: 'now-6h', q: 'name = "GET /a?b=c&d" and 租户 = 华东', expr: 'rate(x[5m]) + on() 1', span: '00f067aa' }
  expect(validateSearch(parseSearch(stringifySearch(search)))).toEqual(search)
})

test('what is not known, empty or not text is left out', () => {
  expect(validateSearch({ from: '', q: 3, evil: 'x', view: 'map' })).toEqual({ view: 'map' })
  expect(stringifySearch({})).toBe('')
})

test('numbers stay text', () => {
  expect(validateSearch(parseSearch('?from=1700000000000&span=00012'))).toEqual({ from: '1700000000000', span: '00012' })
})

test('boxes', () => {
  const box = { start: 1_700_000_000_000, end: 1_700_000_060_000, minNs: 1_000_000, maxNs: 0 }
  expect(parseBox(formatBox(box))).toEqual(box)
  for (const bad of [undefined, '', '1-2-3', '5-1-0-0', '1-5-9-3', 'a-b-c-d']) expect(parseBox(bad)).toBeUndefined()
})

test('zoom stays inside the trace', () => {
  expect(parseZoom('10-20', 100)).toEqual([10, 20])
  expect(parseZoom('10-2000', 100)).toEqual([10, 100])
  expect(parseZoom('200-300', 100)).toEqual([0, 100])
  expect(parseZoom(undefined, 100)).toEqual([0, 100])
})

test('sort', () => {
  expect(parseSort('-rate', 'name')).toEqual({ column: 'rate', descending: true })
  expect(parseSort(undefined, 'name')).toEqual({ column: 'name', descending: false })
})

test('filters travel to another signal with the range', () => {
  expect(keepFor('logs')({ from: 'now-6h', q: 'service.name = order and duration > 1s', span: 'x' })).toEqual({
    from: 'now-6h', to: undefined, q: 'service.name = order',
  })
})

test('the default range is not written', () => {
  expect(rangePatch({ from: 'now-1h', to: 'now' })).toEqual({ from: undefined, to: undefined })
  expect(rangePatch({ from: 'now-6h', to: 'now' })).toEqual({ from: 'now-6h', to: 'now' })
})
