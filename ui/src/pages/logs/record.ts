// What can be read off a log record, and from a pattern of records.

import type { Schemas } from '../../api/client'
import { attributeText } from '../../state/match'

type Log = Schemas['Log']

/** The value of a field as filters name it; empty when the record has none. */
export function fieldOf(log: Log, field: string): string {
  switch (field) {
    case 'severity': return log.severity
    case 'severity_text': return log.severityText
    case 'service.name': return log.service
    case 'body': return log.body
    case 'trace_id': return log.traceId
    case 'span_id': return log.spanId
    case 'event_name': return log.eventName
    case 'scope.name': return log.scope
  }
  const find = (list: Log['attributes'], key: string) => {
    const a = list.find((x) => x.key === key)
    return a && attributeText(a.value)
  }
  if (field.startsWith('resource.')) return find(log.resource, field.slice(9)) ?? ''
  // log. may be a prefix or the beginning of the attribute's own name.
  const prefixed = field.startsWith('log.') ? find(log.attributes, field.slice(4)) : undefined
  return prefixed ?? find(log.attributes, field) ?? find(log.resource, field) ?? ''
}

/** The text in pieces, those that are one of the words marked. */
export function highlight(text: string, words: readonly string[]): { text: string; hit: boolean }[] {
  const wanted = words.filter((w) => w !== '')
  if (wanted.length === 0) return [{ text, hit: false }]
  const re = new RegExp(wanted.map(escapeRegExp).join('|'), 'giu')
  const out: { text: string; hit: boolean }[] = []
  let at = 0
  for (const m of text.matchAll(re)) {
    if (m.index > at) out.push({ text: text.slice(at, m.index), hit: false })
    out.push({ text: m[0], hit: true })
    at = m.index + m[0].length
  }
  if (at < text.length || out.length === 0) out.push({ text: text.slice(at), hit: false })
  return out
}

export function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

/** What stands for a variable part of a pattern. */
export const hole = '<*>'

/** A pattern as a regular expression that its records match. */
export function patternRegExp(pattern: string): string {
  return `^${pattern.split(hole).map(escapeRegExp).join('.*')}`
}

/** Indented when it is a JSON object or array, else as it is. */
export function pretty(body: string): string {
  if (!/^\s*[[{]/.test(body)) return body
  try {
    return JSON.stringify(JSON.parse(body), null, 2)
  } catch {
    return body
  }
}
