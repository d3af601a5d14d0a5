// State that a link carries. All values are text, and a value that is the
// default is left out, so that links stay short.

import { useNavigate, useSearch } from '@tanstack/react-router'
import { useCallback, useMemo } from 'react'
import type { Question } from '../api/queries'
import { useAsOf } from './clock'
import { carry, type Condition, formatFilter, type Signal, tryParse } from './filter'
import { defaultRange, isRelative, type Range, resolve } from './range'

const keys = [
  'from', 'to', // time range, see state/range
  'q', // filter, see state/filter
  'view', // which of a page's views
  'sort', // column, with a leading - for descending
  'find', // words to find in what is shown
  'focus', // the service in the middle of the map
  'box', // selection in a heat map
  'pick', // condition on the list beside a comparison
  'span', // selected span
  'zoom', // part of a trace, nanoseconds: from-to; or the frame that takes the width
  'near', // a time close to the trace
  'log', // selected log record
  'rule', // selected rule of the audit
  'around', // log record whose neighbours are shown
  'cols', // columns of the log list
  'live', // 1 follows new records
  'expr', // PromQL
  'type', // type of profile
  'frame', // selected frame of a profile
  'fn', // function whose callers and callees are shown
  'vs', // the period to compare with, see pages/profiles/versus
  'vsq', // the filter of that side, when it is another one
  'side', // 1 shows the Related panel
  'flow', // selected flow of the network
  'sev', // least severity of audit events
  'kernel', // 1 shows the kernel's records among all logs
] as const

export type Search = Partial<Record<(typeof keys)[number], string>>

export function validateSearch(raw: Record<string, unknown>): Search {
  const out: Search = {}
  for (const k of keys) {
    const v = raw[k]
    if (typeof v === 'string' && v !== '') out[k] = v
  }
  return out
}

export function parseSearch(text: string): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(text))
}

export function stringifySearch(search: Record<string, unknown>): string {
  const q = new URLSearchParams()
  for (const k of keys) {
    const v = search[k]
    if (typeof v === 'string' && v !== '') q.set(k, v)
  }
  // These are allowed in a query and read better as they are.
  const text = q.toString().replace(/%3A/g, ':').replace(/%2F/g, '/').replace(/%2C/g, ',')
  return text && `?${text}`
}

export function useUrl(): Search {
  return useSearch({ strict: false })
}

/** Changes parts of the URL. `replace` leaves no step for Back. */
export function useSetUrl(): (patch: Search, how?: { replace?: boolean }) => void {
  const navigate = useNavigate()
  return useCallback(
    (patch, how) => void navigate({ to: '.', search: (last: Search) => ({ ...last, ...patch }), replace: how?.replace ?? false }),
    [navigate],
  )
}

/** Range and filter, for links to another page of the same signal. */
export function keepAll({ from, to, q }: Search): Search {
  return { from, to, q }
}

/** Range and what of the filter means something for the signal. */
export function keepFor(signal: Signal): (last: Search) => Search {
  return ({ from, to, q }) => ({ from, to, q: formatFilter(carry(tryParse(q), signal)) || undefined })
}

/** Only the range. */
export function keepRange({ from, to }: Search): Search {
  return { from, to }
}

export function rangeOf(url: Search): Range {
  return { from: url.from ?? defaultRange.from, to: url.to ?? defaultRange.to }
}

/** The patch for a range; the default is left out. */
export function rangePatch(range: Range): Search {
  const standard = range.from === defaultRange.from && range.to === defaultRange.to
  return standard ? { from: undefined, to: undefined } : { from: range.from, to: range.to }
}

/** The range and filter of the page, with relative times resolved. */
export function useQuestion(): Required<Question> {
  const { from, to, q } = useUrl()
  const asOf = useAsOf()
  return useMemo(() => {
    const range = rangeOf({ from, to })
    const w = resolve(range, asOf)
    return { ...w, filter: q ?? '' }
  }, [from, to, q, asOf])
}

export function useRange(): { range: Range; relative: boolean } {
  const { from, to } = useUrl()
  return useMemo(() => {
    const range = rangeOf({ from, to })
    return { range, relative: isRelative(range) }
  }, [from, to])
}

// The selection in a heat map: startMs-endMs-minNs-maxNs.

export interface BoxValue {
  start: number
  end: number
  minNs: number
  maxNs: number
}

export function formatBox(b: BoxValue): string {
  return [b.start, b.end, Math.ceil(b.minNs), Math.ceil(b.maxNs)].map(Math.round).join('-')
}

export function parseBox(text: string | undefined): BoxValue | undefined {
  const m = /^(\d+)-(\d+)-(\d+)-(\d+)$/.exec(text ?? '')
  if (!m) return undefined
  const [start, end, minNs, maxNs] = m.slice(1).map(Number) as [number, number, number, number]
  return start < end && (maxNs === 0 || minNs < maxNs) ? { start, end, minNs, maxNs } : undefined
}

/** The selection as conditions on spans. Durations are whole nanoseconds. */
export function boxConditions(b: BoxValue): Condition[] {
  const out: Condition[] = []
  if (b.minNs > 0) out.push({ field: 'duration', op: '>=', value: `${Math.ceil(b.minNs)}ns` })
  if (b.maxNs > 0) out.push({ field: 'duration', op: '<', value: `${Math.ceil(b.maxNs)}ns` })
  return out
}

/** from-to in nanoseconds. */
export function parseZoom(text: string | undefined, whole: number): [number, number] {
  const m = /^(\d+)-(\d+)$/.exec(text ?? '')
  if (!m) return [0, whole]
  const from = Math.min(Number(m[1]), whole)
  const to = Math.min(Number(m[2]), whole)
  return from < to ? [from, to] : [0, whole]
}

/** A sort order: column and direction. */
export function parseSort(text: string | undefined, fallback: string): { column: string; descending: boolean } {
  const s = text ?? fallback
  return s.startsWith('-') ? { column: s.slice(1), descending: true } : { column: s, descending: false }
}
