import { expect, test } from 'vitest'
import { fieldOf, highlight, patternRegExp, pretty } from './record'
import { stack } from '../../components/Volume'

test('highlight finds words without regard to case, and escapes them', () => {
  expect(highlight('GET /a.b failed', ['get', 'a.b'])).toEqual([
    { text: 'GET', hit: true }, { text: ' /', hit: false }, { text: 'a.b', hit: true }, { text: ' failed', hit: false },
  ])
  expect(highlight('axb', ['a.b'])).toEqual([{ text: 'axb', hit: false }])
  expect(highlight('', ['a'])).toEqual([{ text: '', hit: false }])
  expect(highlight('订单已创建', ['订单'])[0]).toEqual({ text: '订单', hit: true })
})

test('a pattern matches the records it came from', () => {
  const re = new RegExp(patternRegExp('charge <*> failed: (code <*>) [x]'))
  expect(re.test('charge 17 failed: (code 503) [x]')).toBe(true)
  expect(re.test('a charge 17 failed: (code 503) [x]')).toBe(false)
})

test('pretty leaves alone what is not JSON', () => {
  expect(pretty('{"a":1}')).toBe('{\n  "a": 1\n}')
  for (const s of ['plain', '{broken', '42']) expect(pretty(s)).toBe(s)
})

test('fieldOf reads attributes before the resource', () => {
  const a = (key: string, value: unknown) => ({ key, type: 'string' as const, value })
  const log = {
    id: '', time: '', observed: '', severity: 'info' as const, severityText: 'INFO', body: 'b', service: 's', traceId: '', spanId: '', eventName: '', scope: '',
    attributes: [a('k', 'log'), a('n', 5), a('log.file.name', 'a.log')], resource: [a('k', 'res'), a('host.name', 'h')],
  }
  expect(['k', 'log.k', 'resource.k', 'host.name', 'log.n', 'severity', 'none', 'log.file.name', 'log.log.file.name'].map((f) => fieldOf(log, f))).toEqual(['log', 'log', 'res', 'h', '5', 'info', '', 'a.log', 'a.log'])
})

test('stack puts the severe at the bottom and knows the tallest column', () => {
  const { series, totals, most } = stack({ columns: 2, series: [{ severity: 'info', counts: [5, 1] }, { severity: 'error', counts: [2, 0] }, { severity: 'odd', counts: [0, 1] }] })
  expect(series.map((s) => s.severity)).toEqual(['error', 'info', 'unset'])
  expect(series[1]!.below).toEqual([2, 0])
  expect(totals).toEqual([7, 2])
  expect(most).toBe(7)
})
