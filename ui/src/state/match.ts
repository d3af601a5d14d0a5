// Conditions evaluated in the browser, over the spans of a trace that is
// already here. The rules are those of the store.

import type { components } from '../api/schema'
import type { Condition } from './filter'
import { canonical } from './values.ts'

type Span = components['schemas']['Span']
type Attribute = components['schemas']['Attribute']

/** An attribute's value as text, as the store compares it: exponents have two digits. */
export function attributeText(value: unknown): string {
  if (value === null || value === undefined) return ''
  return typeof value === 'string' ? value : json(value)
}

function json(value: unknown): string {
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value).replace(/e([+-])(\d)$/, 'e$10$2')
  if (Array.isArray(value)) return `[${value.map(json).join(',')}]`
  if (typeof value === 'object' && value !== null) return `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}:${json(v)}`).join(',')}}`
  return JSON.stringify(value)
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
  const want = canonical(c, 'traces')
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
