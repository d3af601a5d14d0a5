// A trace of many spans, as OTLP in JSON, for servers that do not have one.

import { expect, type APIRequestContext } from '@playwright/test'
import { ask, real, type Schemas } from './base'

const batch = 2000

/** The id of a trace of n spans; sent to a real server, known to the generated one. */
export async function hugeTrace(request: APIRequestContext, n: number): Promise<string> {
  if (!real) return 'ffffffffffffffffffffffffffff0001'
  const { listeners } = await ask<Schemas['Status']>(request, '/guanlan/v1/status', (s) => s.ready)
  const otlp = listeners.find((l) => /otlp.*http/i.test(l.name))!.address
  const hex = (i: number, width: number) => i.toString(16).padStart(width, '0')
  const traceId = hex(Date.now(), 16) + hex(n, 16)
  const start = BigInt(Date.now() - 30_000) * 1_000_000n
  const spans = Array.from({ length: n }, (_, i) => {
    // A tree of eight children each; every span lies within its parent.
    let from = 0
    let width = 20e9
    const path: number[] = []
    for (let k = i; k > 0; k = Math.floor((k - 1) / 8)) path.push((k - 1) % 8)
    for (const k of path.reverse()) {
      from += (width / 8) * k * 0.9
      width *= 0.11
    }
    return {
      traceId, spanId: hex(i + 1, 16), parentSpanId: i === 0 ? '' : hex(Math.floor((i - 1) / 8) + 1, 16), name: i === 0 ? 'nightly batch' : `step ${i % 40}`, kind: i === 0 ? 2 : 1,
      startTimeUnixNano: String(start + BigInt(Math.round(from))), endTimeUnixNano: String(start + BigInt(Math.round(from + width))),
      attributes: [{ key: 'batch.item', value: { intValue: String(i) } }], status: i % 500 === 7 ? { code: 2, message: 'item failed' } : {},
    }
  })
  for (let i = 0; i < n; i += batch) {
    const response = await request.post(`http://${otlp}/v1/traces`, {
      data: { resourceSpans: [{ resource: { attributes: [{ key: 'service.name', value: { stringValue: 'batch' } }] }, scopeSpans: [{ scope: { name: 'e2e' }, spans: spans.slice(i, i + batch) }] }] },
    })
    expect(response.ok()).toBe(true)
  }
  await ask<Schemas['Trace']>(request, `/guanlan/v1/traces/${traceId}`, (t) => t.spanList.length === n)
  return traceId
}
