// Telemetry as a kernel receiver sends it, for real servers that have none.

import { type APIRequestContext, expect } from '@playwright/test'
import { ask, type Schemas } from './base'

type Value = string | number | boolean | string[]

const value = (v: Value): object =>
  typeof v === 'string' ? { stringValue: v } : typeof v === 'boolean' ? { boolValue: v } : Array.isArray(v) ? { arrayValue: { values: v.map(value) } } : Number.isInteger(v) ? { intValue: String(v) } : { doubleValue: v }
const attributes = (m: Record<string, Value>) => Object.entries(m).map(([key, v]) => ({ key, value: value(v) }))

const host = 'e2e-node'
const resource = (service: string) => ({ attributes: attributes({ 'service.name': service, 'service.instance.id': `${host}/${service}`, 'host.name': host, 'process.executable.name': service }) })

let sent: Promise<string> | undefined

/** Sends a lossy link, a crowded namespace, findings and a kill, once; gives a trace over that link. */
export function sendKernel(request: APIRequestContext): Promise<string> {
  return (sent ??= send(request))
}

async function send(request: APIRequestContext): Promise<string> {
  const { listeners } = await ask<Schemas['Status']>(request, '/guanlan/v1/status', (s) => s.ready)
  const otlp = listeners.find((l) => /otlp.*http/i.test(l.name))!.address
  const post = async (signal: string, data: object) => expect((await request.post(`http://${otlp}/v1/${signal}`, { data })).ok()).toBe(true)
  const now = Date.now()
  const nano = (ms: number) => String(BigInt(Math.round(ms)) * 1_000_000n)
  const [from, to] = [now - 60_000, now - 50_000]

  const flow = { 'kernel.tcp.role': 'client', 'network.peer.address': '10.77.0.9', 'network.peer.port': 8443, 'service.peer.name': 'e2e-bank' }
  const sum = (name: string, unit: string, points: [number, Record<string, Value>][]) => ({
    name, unit,
    sum: {
      aggregationTemporality: 1, isMonotonic: true,
      // A zero before the first point, so that all of it counts as an increase.
      dataPoints: points.flatMap(([n, more]) => [
        { asInt: '0', startTimeUnixNano: nano(from - 1), timeUnixNano: nano(from), attributes: attributes({ ...more }) },
        { asInt: String(n), startTimeUnixNano: nano(from), timeUnixNano: nano(to), attributes: attributes({ ...more }) },
      ]),
    },
  })
  const gauge = (name: string, unit: string, points: [number, Record<string, Value>][]) => ({
    name, unit, gauge: { dataPoints: points.flatMap(([n, more]) => [to, now - 2000].map((at) => ({ asInt: String(n), timeUnixNano: nano(at), attributes: attributes(more) }))) },
  })
  const histogram = (name: string, count: number, offset: number) => ({
    name, unit: 's',
    exponentialHistogram: {
      aggregationTemporality: 1,
      dataPoints: [[0, from - 1, from], [count, from, to]].map(([n, a, b]) => ({
        startTimeUnixNano: nano(a!), timeUnixNano: nano(b!), scale: 2, count: String(n), sum: 0.3 * n!, positive: n === 0 ? {} : { offset, bucketCounts: [String(n)] }, attributes: attributes(flow),
      })),
    },
  })
  const netns = { 'kernel.netns': 4026531840 }
  await post('metrics', {
    resourceMetrics: [
      {
        resource: resource('e2e-shop'),
        scopeMetrics: [{
          scope: { name: 'guanlan.kernel.tcp' },
          metrics: [
            sum('kernel.tcp.io', 'By', [[4_000_000, { ...flow, 'network.io.direction': 'transmit' }], [9_000_000, { ...flow, 'network.io.direction': 'receive' }]]),
            sum('kernel.tcp.segments', '{segment}', [[4000, flow]]),
            sum('kernel.tcp.retransmits', '{segment}', [[80, flow]]),
            histogram('kernel.tcp.rtt', 400, -8),
            gauge('kernel.tcp.connections', '{connection}', [[7, flow]]),
          ],
        }],
      },
      {
        resource: resource('guanlan'),
        scopeMetrics: [
          {
            scope: { name: 'guanlan.kernel.tcp' },
            metrics: [
              gauge('kernel.tcp.sockets', '{socket}', [[900, { ...netns, 'network.connection.state': 'time_wait' }], [100, { ...netns, 'network.connection.state': 'established' }]]),
              gauge('kernel.tcp.listen.queue', '{connection}', [[1, { ...netns, 'network.local.address': '::', 'network.local.port': 8080 }]]),
              gauge('kernel.tcp.listen.limit', '{connection}', [[128, { ...netns, 'network.local.address': '::', 'network.local.port': 8080 }]]),
            ],
          },
          { scope: { name: 'guanlan.kernel' }, metrics: [gauge('guanlan.kernel.feature.up', '1', [[1, { 'kernel.feature': 'tcp' }], [1, { 'kernel.feature': 'oom' }], [1, { 'kernel.feature': 'audit' }]])] },
        ],
      },
    ],
  })

  const record = (service: string, scope: string, eventName: string, at: number, severityNumber: number, body: string, more: Record<string, Value>) => ({
    resource: resource(service), scopeLogs: [{ scope: { name: scope }, logRecords: [{ timeUnixNano: nano(at), eventName, severityNumber, body: { stringValue: body }, attributes: attributes(more) }] }],
  })
  const limit = 512 * 1024 * 1024
  await post('logs', {
    resourceLogs: [
      record('e2e-shop', 'guanlan.kernel.tcp', 'kernel.tcp.signal', to, 13, 'Many segments are sent again, on connections of e2e-shop to e2e-bank.', {
        ...flow, 'kernel.signal': 'tcp.retransmits', 'kernel.signal.value': 0.02, 'kernel.signal.limit': 0.005, 'kernel.signal.evidence': ['80 of 4000 segments were sent again, 4000000 bytes acknowledged'],
      }),
      record('e2e-shop', 'guanlan.kernel.audit', 'kernel.audit.exec', now - 40_000, 13, 'A server process started a shell: sh -c id was started by nginx.', {
        'process.pid': 42, 'process.parent_pid': 41, 'process.executable.path': '/bin/sh', 'process.command_line': 'sh -c id', 'user.id': '0', 'kernel.audit.ancestors': 'nginx(41) < systemd(1)', 'kernel.audit.seq': 1, 'kernel.audit.result': 0,
        'kernel.audit.rule': 'shell_from_server', 'kernel.audit.severity': 'warning', 'kernel.audit.technique': 'T1190',
        'kernel.audit.findings': JSON.stringify([{ rule: 'shell_from_server', title: 'A server process started a shell', severity: 'warning', technique: 'T1190' }]),
      }),
      record('e2e-cache', 'guanlan.kernel.oom', 'kernel.oom', now - 30_000, 17, 'The kernel killed e2e-cache (process 77), which held 500 MiB: the limit of 512 MiB of cgroup /e2e was reached.', {
        'process.pid': 77, 'process.executable.path': '/e2e-cache', 'kernel.oom.rss': 500 * 1024 * 1024, 'kernel.oom.limit': limit, 'kernel.oom.usage': limit, 'kernel.oom.limit_cgroup': '/e2e', 'kernel.oom.host': false,
        'kernel.oom.top': JSON.stringify([{ pid: 77, comm: 'e2e-cache', executable: '/e2e-cache', resident: 500 * 1024 * 1024, shared: 0 }]),
        'kernel.oom.history': JSON.stringify(Array.from({ length: 20 }, (_, i) => ({ time: new Date(now - 130_000 + i * 5000).toISOString(), usage: (limit * (i + 1)) / 21, cache: 1 << 20 }))),
      }),
    ],
  })

  const traceId = now.toString(16).padStart(16, '0') + '00000000000e2e00'
  const span = (id: number, parent: number, name: string, kind: number, a: number, b: number, more: Record<string, Value>) => ({
    traceId, spanId: id.toString(16).padStart(16, '0'), parentSpanId: parent ? parent.toString(16).padStart(16, '0') : '', name, kind, startTimeUnixNano: nano(a), endTimeUnixNano: nano(b), attributes: attributes(more),
  })
  await post('traces', {
    resourceSpans: [{
      resource: resource('e2e-shop'),
      scopeSpans: [{
        scope: { name: 'e2e' },
        spans: [span(1, 0, 'GET /pay', 2, from + 1000, from + 6000, {}), span(2, 1, 'POST /charge', 3, from + 2000, from + 5000, { 'network.peer.address': '10.77.0.9', 'network.peer.port': 8443, 'server.address': 'e2e-bank' })],
      }],
    }],
  })
  await ask<Schemas['KernelFacts']>(request, `/api/v1/kernel/facts?trace_id=${traceId}`, (f) => f.spans.length === 1)
  await ask<Schemas['OOMList']>(request, '/api/v1/kernel/oom?filter=service.name+%3D+e2e-cache', (l) => l.stories.length > 0)
  return traceId
}
