import { describe, expect, test } from 'vitest'
import { type Choice, families, formatOf, operationsOf, write } from './promql'

const choose = (c: Partial<Choice>): Choice => ({ metric: 'm', kind: 'gauge', operation: 'raw', matchers: [], by: [], ...c })
const plain = (s: string) => s.replaceAll('\u00a0', ' ')

test('families gathers what belongs together', () => {
  const meta = { req_seconds: [{ type: 'histogram', help: 'h', unit: '' }], nat: [{ type: 'histogram', help: '', unit: '' }] }
  expect(families(['req_seconds_bucket', 'req_seconds_count', 'req_seconds_sum', 'nat', 'up', 'x_total', 'disk_sum'], meta)).toEqual([
    { name: 'disk_sum', kind: 'gauge', help: '' },
    { name: 'nat', kind: 'native', help: '' },
    { name: 'req_seconds', kind: 'histogram', help: 'h' },
    { name: 'up', kind: 'gauge', help: '' },
    { name: 'x_total', kind: 'counter', help: '' },
  ])
})

describe('write', () => {
  test.each<[Partial<Choice>, string]>([
    [{}, 'm'],
    [{ matchers: [{ label: 'job', value: 'a"b' }] }, 'm{job="a\\"b"}'],
    [{ operation: 'avg', by: ['job', 'pod'] }, 'avg by (job, pod) (m)'],
    [{ kind: 'counter', operation: 'rate' }, 'sum(rate(m[5m]))'],
    [{ kind: 'counter', operation: 'increase', by: ['job'] }, 'sum by (job) (increase(m[5m]))'],
    [{ kind: 'histogram', operation: 'p95', by: ['job'] }, 'histogram_quantile(0.95, sum by (job, le) (rate(m_bucket[5m])))'],
    [{ kind: 'histogram', operation: 'rate' }, 'sum(rate(m_count[5m]))'],
    [{ kind: 'histogram', operation: 'avg' }, 'sum(rate(m_sum[5m])) / sum(rate(m_count[5m]))'],
    [{ kind: 'native', operation: 'p99' }, 'histogram_quantile(0.99, sum(rate(m[5m])))'],
    [{ kind: 'native', operation: 'raw' }, 'sum(rate(m[5m]))'],
    [{ metric: 'http.server.duration', matchers: [{ label: 'a', value: 'b' }] }, '{"http.server.duration", a="b"}'],
  ])('%j', (c, want) => expect(write(choose(c))).toBe(want))

  test('every operation that is offered can be written', () => {
    for (const [kind, list] of Object.entries(operationsOf)) for (const operation of list) expect(write(choose({ kind: kind as Choice['kind'], operation }))).toContain('m')
  })
})

test.each([
  ['rate(http_requests_total[5m])', 12.5, '12.5'],
  ['rate(process_cpu_time_seconds_total[5m])', 0.25, '0.25'],
  ['histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))', 0.25, '250 ms'],
  ['rate(http_request_duration_seconds_count[5m])', 3, '3'],
  ['sum(rate(x_seconds_sum[5m])) / sum(rate(x_seconds_count[5m]))', 0.002, '2 ms'],
  ['go_memory_used_bytes', 2 ** 20, '1 MiB'],
  ['rate(disk_read_bytes_total[5m])', 2048, '2 KiB'],
  ['go_schedule_duration_seconds', 1e-6, '1 µs'],
  ['cache_hit_ratio', 0.5, '50%'],
  ['up', 1, '1'],
  ['delta(go_memory_used_bytes[5m])', -1024, '−1 KiB'],
])('formatOf %s', (expr, v, want) => expect(plain(formatOf(expr)(v))).toBe(want))
