import { expect, test } from 'vitest'
import { mergeEdges } from './edges'

const edge = (kind: 'call' | 'database' | 'external', rate: number, errorRate: number, p95: number) => ({ from: 'a', to: 'b', kind, rate, errorRate, p50: 1, p95, p99: p95, count: rate, stored: 1 })

test('edges of a pair become one, its errors weighted by calls', () => {
  const merged = mergeEdges([edge('database', 9, 0, 5), edge('external', 1, 0.5, 50), { ...edge('call', 2, 0, 1), to: 'c' }])
  expect([...merged.keys()]).toEqual(['a\0b', 'a\0c'])
  expect(merged.get('a\0b')).toMatchObject({ kind: 'database', rate: 10, errorRate: 0.05, p95: 50, count: 10, stored: 2 })
})
