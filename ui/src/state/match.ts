// Conditions evaluated in the browser, over the spans of a trace that is
// already here. The rules are those of the store.

import type { components } from '../api/schema'
import type { Condition } from './filter'

type Span = components['schemas']['Span']
type Attribute = components['schemas']['Attribute']

const durationUnits: Record<string, number> = {
  ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9, d: 86400e9, w: 604800e9,
}

/** Nanoseconds of 200ms, 1h30m…; undefined when it is not a duration. */
export function parseDuration(text: string): number | undefined {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|[smhdw])/g)]
  if (parts.length === 0 || parts.map((p) => p[0]).join('') !== text) return undefined
  return parts.reduce((sum, [, n, unit]) => sum + Number(n) * durationUnits[unit!]!, 0)
}

/** An attribute's value as text, as the store compares it. */
export function attributeText(value: unknown): string {
  if (value === null || value === undefined) return ''
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function find(attributes: readonly Attribute[], key: string): string | undefined {
  const a = attributes.find((x) => x.key === key)
  return a && attributeText(a.value)
}

/** The values of a field; none when the span does not have it. */
function valuesOf(span: Span, resource: readonly Attribute[], traceId: string, field: string): string[] {
  const one = (v: string | undefined) => (v === undefined || v === '' ? [] : [v])
  switch (field) {
    case 'trace_id': return [traceId]
    case 'span_id': return [span.spanId]
    case 'parent_span_id': return one(span.parentSpanId)
    case 'name': return [span.name]
    case 'kind': return [span.kind]
    case 'duration': return [String(span.durationNs)]
    case 'status': return [span.status]
    case 'status.message': return one(span.statusMessage)
    case 'service.name': return [span.service]
    case 'scope.name': return one(span.scope)
    case 'root': return [String(span.parentSpanId === '')]
    case 'event.name': return span.events.map((e) => e.name)
    default:
      if (field.startsWith('resource.')) return one(find(resource, field.slice(9)))
      if (field.startsWith('span.')) return one(find(span.attributes, field.slice(5)))
      return one(find(span.attributes, field) ?? find(resource, field))
  }
}

function compile(c: Condition): (values: string[], span: Span) => boolean {
  const want = c.field === 'duration' ? String(parseDuration(c.value) ?? c.value) : c.value
  const ordered = (test: (a: number, b: number) => boolean) => {
    const limit = Number(want)
    return (values: string[]) => want !== '' && values.some((v) => v !== '' && test(Number(v), limit))
  }
  switch (c.op) {
    case '=': return (values) => values.includes(want) || (want === '' && values.length === 0)
    case '!=': return (values) => !values.includes(want) && !(want === '' && values.length === 0)
    case '<': return ordered((a, b) => a < b)
    case '<=': return ordered((a, b) => a <= b)
    case '>': return ordered((a, b) => a > b)
    case '>=': return ordered((a, b) => a >= b)
    case 'exists': return (values) => values.length > 0
    case '=~':
    case '!~': {
      const re = pattern(want)
      if (!re) return () => false
      return c.op === '=~' ? (values) => values.some((v) => re.test(v)) : (values) => !values.some((v) => re.test(v))
    }
    case 'text': {
      const needle = want.toLowerCase()
      return (_, span) =>
        span.name.toLowerCase().includes(needle) ||
        span.service.toLowerCase().includes(needle) ||
        span.events.some((e) => e.name.toLowerCase().includes(needle) || e.attributes.some((a) => attributeText(a.value).toLowerCase().includes(needle))) ||
        span.attributes.some((a) => attributeText(a.value).toLowerCase().includes(needle))
    }
  }
}

function pattern(source: string): RegExp | undefined {
  try {
    return new RegExp(source, 'u')
  } catch {
    return undefined
  }
}

/** A test for spans of one trace. */
export function matcher(
  conditions: readonly Condition[],
  traceId: string,
  resources: readonly { attributes: readonly Attribute[] }[],
): (span: Span) => boolean {
  const tests = conditions.map((c) => ({ field: c.field, test: compile(c) }))
  return (span) =>
    tests.every(({ field, test }) =>
      test(field === '' ? [] : valuesOf(span, resources[span.resource]?.attributes ?? [], traceId, field), span),
    )
}
