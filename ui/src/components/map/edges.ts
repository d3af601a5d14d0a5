import type { Schemas } from '../../api/client'

type Edge = Schemas['Edge']

/**
 * One edge for each pair, by `from\0to`: two services may call each other in
 * several ways. The slower latency stands for both, as percentiles cannot be
 * added.
 */
export function mergeEdges(edges: readonly Edge[]): Map<string, Edge> {
  const out = new Map<string, Edge>()
  for (const e of edges) {
    const key = `${e.from}\0${e.to}`
    const have = out.get(key)
    if (!have) {
      out.set(key, e)
      continue
    }
    const rate = have.rate + e.rate
    out.set(key, {
      ...(have.rate >= e.rate ? have : e),
      rate,
      errorRate: rate > 0 ? (have.rate * have.errorRate + e.rate * e.errorRate) / rate : 0,
      p50: Math.max(have.p50, e.p50),
      p95: Math.max(have.p95, e.p95),
      p99: Math.max(have.p99, e.p99),
      count: have.count + e.count,
      stored: have.stored + e.stored,
    })
  }
  return out
}
