// PromQL that the builder writes, and what can be told from an expression
// without evaluating it.

import { type Metadata, promString, selector } from '../../api/prometheus'
import { bytes, duration, percent, si } from '../../state/units'

export type Kind = 'counter' | 'gauge' | 'histogram' | 'native'

export interface Family {
  name: string
  kind: Kind
  help: string
}

const part = /_(?:bucket|count|sum)$/

/** Series names gathered to the metrics that people know, by name. */
export function families(names: readonly string[], meta: Record<string, Metadata[]>): Family[] {
  const have = new Set(names)
  const out = new Map<string, Family>()
  for (const name of names) {
    const base = name.replace(part, '')
    const classic = base !== name && (have.has(`${base}_bucket`) || /^(?:histogram|summary)$/.test(meta[base]?.[0]?.type ?? ''))
    const family = classic ? base : name
    if (out.has(family)) continue
    const told = meta[family]?.[0]
    out.set(family, { name: family, kind: kindOf(family, told?.type, have), help: told?.help ?? '' })
  }
  return [...out.values()].sort((a, b) => a.name.localeCompare(b.name))
}

function kindOf(name: string, told: string | undefined, have: ReadonlySet<string>): Kind {
  if (have.has(`${name}_bucket`)) return 'histogram'
  if (told === 'histogram') return 'native'
  if (told === 'counter' || (!told && name.endsWith('_total'))) return 'counter'
  return 'gauge'
}

export const operations = ['raw', 'rate', 'increase', 'sum', 'avg', 'max', 'min', 'p50', 'p95', 'p99'] as const
export type Operation = (typeof operations)[number]

/** What can be asked of a kind; the first is what is asked most. */
export const operationsOf: Record<Kind, readonly Operation[]> = {
  counter: ['rate', 'increase', 'raw'],
  gauge: ['raw', 'sum', 'avg', 'max', 'min'],
  histogram: ['p95', 'p50', 'p99', 'rate', 'avg'],
  native: ['p95', 'p50', 'p99', 'rate', 'avg', 'raw'],
}

export interface Choice {
  metric: string
  kind: Kind
  operation: Operation
  matchers: readonly { label: string; value: string }[]
  by: readonly string[]
}

const quantiles: Partial<Record<Operation, string>> = { p50: '0.5', p95: '0.95', p99: '0.99' }
/** A rate needs a few scrapes; so many minutes hold some at any usual interval. */
const window = '[5m]'

export function write({ metric, kind, operation, matchers, by }: Choice): string {
  const match = matchers.filter((m) => m.label).map((m) => `${m.label}=${promString(m.value)}`)
  const series = (suffix = '') => selector(metric + suffix, match)
  const group = (fn: string, inner: string, labels: readonly string[] = by) => `${fn}${labels.length > 0 ? ` by (${labels.join(', ')}) ` : ''}(${inner})`
  const histogram = kind === 'histogram' || kind === 'native'
  const quantile = quantiles[operation]
  if (quantile) {
    const rates = kind === 'histogram' ? group('sum', `rate(${series('_bucket')}${window})`, [...by, 'le']) : group('sum', `rate(${series()}${window})`)
    return `histogram_quantile(${quantile}, ${rates})`
  }
  if (histogram && operation === 'avg') {
    if (kind === 'native') return `histogram_avg(${group('sum', `rate(${series()}${window})`)})`
    return `${group('sum', `rate(${series('_sum')}${window})`)} / ${group('sum', `rate(${series('_count')}${window})`)}`
  }
  switch (operation) {
    case 'rate': {
      if (kind === 'native') return `histogram_count(${group('sum', `rate(${series()}${window})`)})`
      return group('sum', `rate(${series(histogram ? '_count' : '')}${window})`)
    }
    case 'increase': return group('sum', `increase(${series()}${window})`)
    case 'raw': return kind === 'native' ? group('sum', `rate(${series()}${window})`) : series()
    default: return group(operation, series())
  }
}

/** How to write the values of an expression, told from the names in it. */
export function formatOf(expr: string): (v: number) => string {
  if (/_(?:ratio|utilization)\b/.test(expr)) return signed(percent)
  const quantile = /\bhistogram_(?:quantile|avg)\s*\(/.test(expr)
  const average = /_sum\b[^/]*\/.*_count\b/.test(expr)
  if (quantile || average || (!/\b(?:rate|increase|irate)\s*\(/.test(expr) && !/_total\b/.test(expr))) {
    if (/_seconds\b|_seconds_(?:bucket|sum)\b/.test(expr)) return signed((v) => duration(v * 1e9))
    if (/_milliseconds\b|_milliseconds_(?:bucket|sum)\b/.test(expr)) return signed((v) => duration(v * 1e6))
  }
  if (/_bytes\b|_bytes_total\b|_bytes_(?:bucket|sum)\b/.test(expr)) return bytes
  return si
}

/** Sizes and durations below zero are differences. */
function signed(format: (v: number) => string): (v: number) => string {
  return (v) => (v < 0 ? `−${format(-v)}` : format(v))
}
