import { describe, expect, test } from 'vitest'
import { build, following, lanes, length, pieces, reveal, selfTime, type Span, sums, type Trace, visible } from './model'

const span = (spanId: string, parentSpanId: string, offsetNs: number, durationNs: number, more: Partial<Span> = {}): Span => ({
  spanId, parentSpanId, offsetNs, durationNs, resource: 0, scope: '', service: 'a', name: spanId, kind: 'internal', status: 'unset', statusMessage: '', selfNs: 0,
  critical: [], depth: 0, children: 0, skewed: false, traceState: '', attributes: [], events: [], links: [], droppedAttributes: 0, droppedEvents: 0, droppedLinks: 0, ...more,
})
const trace = (spanList: Span[]): Trace => ({
  traceId: 't', service: 'a', name: 'r', start: '2026-01-01T00:00:00Z', durationNs: 100, spans: spanList.length, errors: 0, matched: 0, rootMissing: false, weight: 1,
  services: [], cut: false, resources: [], spanList, logs: 0,
})
// r ─┬ b (10–30) ─ c (15–25)
//    └ d (20–60)
const small = () => build(trace([span('r', '', 0, 100), span('b', 'r', 10, 20), span('c', 'b', 15, 10), span('d', 'r', 20, 40)]))
const ids = (m: ReturnType<typeof build>, rows: number[]) => rows.map((i) => m.rows[i]!.span.spanId)

describe('build', () => {
  test('tree order, also when children come first', () => {
    const m = build(trace([span('c', 'b', 15, 10), span('d', 'r', 20, 40), span('r', '', 0, 100), span('b', 'r', 10, 20)]))
    expect(m.rows.map((r) => [r.span.spanId, r.depth, r.parent, r.end])).toEqual([['r', 0, -1, 4], ['b', 1, 0, 3], ['c', 2, 1, 3], ['d', 1, 0, 4]])
    expect(m.depth).toBe(3)
  })
  test('orphans are roots, and spans in a circle are not lost', () => {
    const m = build(trace([span('x', 'gone', 5, 5), span('p', 'q', 0, 1), span('q', 'p', 1, 1), span('self', 'self', 2, 1)]))
    expect(m.rows).toHaveLength(4)
    expect(new Set(m.rows.map((r) => r.span.spanId)).size).toBe(4)
  })
  test('a chain deeper than the stack', () => {
    const n = 50_000
    const m = build(trace(Array.from({ length: n }, (_, i) => span(`s${i}`, i === 0 ? '' : `s${i - 1}`, i, n - i))))
    expect(m.depth).toBe(n)
    expect(m.rows[0]!.end).toBe(n)
  })
})

test('collapsed rows hide what is below them', () => {
  const m = small()
  expect(ids(m, visible(m.rows, new Set()))).toEqual(['r', 'b', 'c', 'd'])
  expect(ids(m, visible(m.rows, new Set(['b'])))).toEqual(['r', 'b', 'd'])
  expect(ids(m, visible(m.rows, new Set(['r', 'b'])))).toEqual(['r'])
  expect([...reveal(m.rows, new Set(['r', 'b', 'd']), 2)]).toEqual(['d'])
})

test('self time is what no child covers', () => {
  const m = small()
  expect(selfTime(m.rows, 0)).toEqual([{ fromNs: 0, toNs: 10 }, { fromNs: 60, toNs: 100 }])
  expect(selfTime(m.rows, 1)).toEqual([{ fromNs: 10, toNs: 15 }, { fromNs: 25, toNs: 30 }])
  expect(selfTime(m.rows, 3)).toEqual([{ fromNs: 20, toNs: 60 }])
})

test('children outside of a skewed parent do not make its self time negative', () => {
  const m = build(trace([span('r', '', 10, 10), span('a', 'r', 0, 12), span('b', 'r', 18, 50)]))
  expect(selfTime(m.rows, 0)).toEqual([{ fromNs: 12, toNs: 18 }])
})

describe('pieces', () => {
  const critical = [{ fromNs: 0, toNs: 20 }, { fromNs: 60, toNs: 80 }]
  test('are shares of the view', () => {
    expect(pieces(critical, 0, 100, 1000)).toEqual([{ left: 0, width: 0.2 }, { left: 0.6, width: expect.closeTo(0.2, 9) as number }])
  })
  test('are cut to the view', () => {
    expect(pieces(critical, 10, 70, 1000)).toEqual([{ left: 0, width: expect.closeTo(1 / 6, 9) as number }, { left: expect.closeTo(5 / 6, 9) as number, width: expect.closeTo(1 / 6, 9) as number }])
    expect(pieces(critical, 20, 60, 1000)).toEqual([])
  })
  test('that nearly touch are joined', () => {
    const many = Array.from({ length: 1000 }, (_, i) => ({ fromNs: i * 10, toNs: i * 10 + 9 }))
    expect(pieces(many, 0, 10_000, 400)).toEqual([{ left: 0, width: 0.9999 }])
    expect(pieces(many, 0, 100, 400)).toHaveLength(10)
  })
  test('length', () => expect(length(critical)).toBe(40))
})

test('lanes keep overlapping siblings apart and children below their parent', () => {
  const m = small()
  const { lane, count } = lanes(m)
  const of = (id: string) => lane[m.rowOf.get(id)!]!
  expect(of('r')).toBe(0)
  expect(of('b')).toBe(1)
  expect(of('c')).toBeGreaterThan(of('b'))
  expect(of('d')).toBeGreaterThan(0)
  m.rows.forEach((x, i) =>
    m.rows.slice(i + 1).forEach((y) => {
      const together = x.span.offsetNs < y.span.offsetNs + y.span.durationNs && y.span.offsetNs < x.span.offsetNs + x.span.durationNs
      if (together) expect(of(x.span.spanId)).not.toBe(of(y.span.spanId))
    }),
  )
  expect(count).toBe(Math.max(...lane) + 1)
})

test('sums', () => {
  const [first] = sums(build(trace([span('r', '', 0, 9, { name: 'n', selfNs: 4, status: 'error' }), span('s', 'r', 0, 5, { name: 'n', selfNs: 5 })])))
  expect(first).toMatchObject({ name: 'n', count: 2, errors: 1, total: 14, self: 9, max: 9, longest: 'r' })
})

test('following goes around', () => {
  expect(following([2, 5, 9], 5, true)).toBe(9)
  expect(following([2, 5, 9], 9, true)).toBe(2)
  expect(following([2, 5, 9], 2, false)).toBe(9)
  expect(following([], 2, true)).toBeUndefined()
})
