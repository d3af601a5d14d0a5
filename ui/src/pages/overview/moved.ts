// Which services moved, against the window before. A difference counts when it
// is large enough to matter and too large to be chance.

import type { Schemas } from '../../api/client'

type Service = Pick<Schemas['Service'], 'name' | 'rate' | 'errorRate' | 'p95' | 'stored'>

export type Kind = 'errors' | 'latency' | 'rate' | 'appeared' | 'vanished'

export interface Movement {
  service: string
  kind: Kind
  before: number
  after: number
  /** Worse, better, or only different. */
  sense: 'worse' | 'better' | 'changed'
}

/** Fewer stored spans say nothing of a share or a percentile. */
const fewest = 30
/** Standard deviations beyond which a difference is not chance, with some services looked at at once. */
const deviations = 4
/** Half a point of error rate is worth a look. */
const leastErrorChange = 0.005
/** Percentiles are known within 9 %; this is clearly beyond. */
const leastLatencyRatio = 1.35
const leastRateRatio = 1.5

const kinds: readonly Kind[] = ['errors', 'latency', 'vanished', 'appeared', 'rate']

export function moved(before: readonly Service[], after: readonly Service[]): Movement[] {
  const old = new Map(before.map((s) => [s.name, s]))
  const out: Movement[] = []
  for (const s of after) {
    const o = old.get(s.name)
    old.delete(s.name)
    if (!o || o.stored === 0) {
      if (s.stored >= fewest) out.push({ service: s.name, kind: 'appeared', before: 0, after: s.rate, sense: 'changed' })
      continue
    }
    out.push(...errors(o, s), ...latency(o, s), ...rate(o, s))
  }
  for (const o of old.values()) if (o.stored >= fewest) out.push({ service: o.name, kind: 'vanished', before: o.rate, after: 0, sense: 'worse' })
  const senses = ['worse', 'changed', 'better']
  return out.sort((a, b) => senses.indexOf(a.sense) - senses.indexOf(b.sense) || kinds.indexOf(a.kind) - kinds.indexOf(b.kind) || size(b) - size(a))
}

/** Two shares differ when their difference is many times its standard error. */
function errors(o: Service, s: Service): Movement[] {
  const change = s.errorRate - o.errorRate
  if (Math.min(o.stored, s.stored) < fewest || Math.abs(change) < leastErrorChange) return []
  const pooled = (o.errorRate * o.stored + s.errorRate * s.stored) / (o.stored + s.stored)
  const deviation = Math.sqrt(pooled * (1 - pooled) * (1 / o.stored + 1 / s.stored))
  if (Math.abs(change) < deviations * deviation) return []
  return [{ service: s.name, kind: 'errors', before: o.errorRate, after: s.errorRate, sense: change > 0 ? 'worse' : 'better' }]
}

function latency(o: Service, s: Service): Movement[] {
  if (Math.min(o.stored, s.stored) < fewest || o.p95 <= 0 || s.p95 <= 0) return []
  if (Math.max(s.p95 / o.p95, o.p95 / s.p95) < leastLatencyRatio) return []
  return [{ service: s.name, kind: 'latency', before: o.p95, after: s.p95, sense: s.p95 > o.p95 ? 'worse' : 'better' }]
}

/** Counts scatter by their square root. */
function rate(o: Service, s: Service): Movement[] {
  const ratio = Math.max(s.rate / o.rate, o.rate / s.rate)
  if (!(ratio >= leastRateRatio) || Math.abs(s.stored - o.stored) < deviations * Math.sqrt(s.stored + o.stored)) return []
  return [{ service: s.name, kind: 'rate', before: o.rate, after: s.rate, sense: 'changed' }]
}

function size(m: Movement): number {
  return m.kind === 'errors' ? Math.abs(m.after - m.before) : Math.abs(Math.log((m.after || 1e-9) / (m.before || 1e-9)))
}
