import { describe, expect, test } from 'vitest'
import { carry, type Condition, formatFilter, parseFilter, tryParse, typing, withCondition } from './filter'

const c = (field: string, op: Condition['op'], value = ''): Condition => ({ field, op, value })

describe('parseFilter', () => {
  test.each<[string, Condition[]]>([
    ['', []],
    ['service.name = order', [c('service.name', '=', 'order')]],
    [
      'service.name = order and duration > 200ms and status = error',
      [c('service.name', '=', 'order'), c('duration', '>', '200ms'), c('status', '=', 'error')],
    ],
    ['a=1,b!=2 c>=3', [c('a', '=', '1'), c('b', '!=', '2'), c('c', '>=', '3')]],
    ['name = "GET /api/v1"', [c('name', '=', 'GET /api/v1')]],
    ['body =~ "a\\"b\\\\c"', [c('body', '=~', 'a"b\\c')]],
    ['body =~ `^(a|b)=\\d+$`', [c('body', '=~', '^(a|b)=\\d+$')]],
    ['user.id exists', [c('user.id', 'exists')]],
    ['exists user.id and a = 1', [c('user.id', 'exists'), c('a', '=', '1')]],
    ['timeout', [c('', 'text', 'timeout')]],
    ['"connection reset" and status = error', [c('', 'text', 'connection reset'), c('status', '=', 'error')]],
    ['url.full = http://x/a?b=c', [c('url.full', '=', 'http://x/a?b=c')]],
    ['租户 = 华东', [c('租户', '=', '华东')]],
  ])('%s', (text, want) => expect(parseFilter(text)).toEqual(want))

  test.each<[string, 'traces' | 'logs', string, number]>([
    ['a or b', 'traces', 'or', 3],
    ['duration > 200', 'traces', 'duration', 12],
    ['订单 = 1 and status = bad', 'traces', 'oneOf', 21],
    ['status > ok', 'traces', 'order', 8],
    ['a > 200ms', 'logs', 'number', 5],
    ['a = "\\q"', 'logs', 'quote', 5],
    ['(a = 1)', 'logs', 'parentheses', 1],
  ])('says what is wrong with %s', (text, signal, kind, position) => {
    expect(() => parseFilter(text, signal)).toThrow(expect.objectContaining({ position, reason: expect.objectContaining({ kind }) as unknown }))
  })

  test.each(['= 3', 'a =', 'a <> b', 'a = "open', '"open', 'a or b', '(a = 1)', 'and'])('refuses %s', (text) => {
    expect(() => parseFilter(text)).toThrow()
    expect(tryParse(text)).toEqual([])
  })

  test('reads back what formatFilter writes', () => {
    const values = ['order', 'a b', 'and', 'exists', '"', '\\', 'x"y\\z', 'line\nbreak', 'a,b', 'a=b', '<p>', '(x)', '`', '订单', '12.5ms', '\u200b\u0007']
    const conditions = values.flatMap((v) => [c(v, '=', v), c('', 'text', v), c(v, 'exists'), c('f', '!~', '')])
    expect(parseFilter(formatFilter(conditions))).toEqual(conditions)
  })
})

describe('withCondition', () => {
  test('replaces the opposite and another value of the field', () => {
    const have = [c('a', '=', '1'), c('b', '!=', '2')]
    expect(withCondition(have, c('b', '=', '2'))).toEqual([c('a', '=', '1'), c('b', '=', '2')])
    expect(withCondition(have, c('a', '=', '3'))).toEqual([c('b', '!=', '2'), c('a', '=', '3')])
    expect(withCondition(have, c('a', '!=', '1'))).toEqual([c('b', '!=', '2'), c('a', '!=', '1')])
    expect(withCondition(have, c('a', '=', '1'))).toHaveLength(2)
  })
})

describe('typing', () => {
  test.each([
    ['', { stage: 'field', prefix: '', from: 0 }],
    ['serv', { stage: 'field', prefix: 'serv', from: 0 }],
    ['service.name ', { stage: 'operator', field: 'service.name', prefix: '', from: 13 }],
    ['service.name ex', { stage: 'operator', field: 'service.name', prefix: 'ex', from: 13 }],
    ['duration >', { stage: 'operator', field: 'duration', prefix: '>', from: 9 }],
    ['service.name =', { stage: 'value', field: 'service.name', op: '=', prefix: '', from: 14 }],
    ['service.name = or', { stage: 'value', field: 'service.name', op: '=', prefix: 'or', from: 15 }],
    ['name = "GET /a', { stage: 'value', field: 'name', op: '=', prefix: 'GET /a', from: 7 }],
    ['a = 1 and ', { stage: 'field', prefix: '', from: 10 }],
    ['a = 1 and b', { stage: 'field', prefix: 'b', from: 10 }],
    ['a = 1 and b = ', { stage: 'value', field: 'b', op: '=', prefix: '', from: 14 }],
    ['timeout status ', { stage: 'operator', field: 'status', prefix: '', from: 15 }],
  ])('%j', (text, want) => expect(typing(text)).toEqual(want))

  test('ends on any text', () => {
    for (const text of ['(', ')(', '=', ',,', '"', '`a', 'a = )', 'a (', 'exists', 'and and', 'a exists b'])
      expect(typing(text)).toHaveProperty('stage')
  })
})

describe('carry', () => {
  const spans = parseFilter('service.name = order and duration > 1s and status = error and http.route = /pay')
  test('to logs leaves what only spans have, and failed spans become errors', () => {
    expect(formatFilter(carry(spans, 'logs'))).toBe('service.name = order and severity >= error and http.route = /pay')
  })
  test('leaves what the other signal gives another form', () => {
    expect(carry(parseFilter('status = 500 and kind = http and a = 1', 'logs'), 'traces')).toEqual([c('a', '=', '1')])
  })
  test('back to traces', () => {
    expect(formatFilter(carry(carry(spans, 'logs'), 'traces'))).toBe(
      'service.name = order and status = error and http.route = /pay',
    )
  })
})
