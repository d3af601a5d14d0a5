// What a profile is compared with, as it stands in the URL: `vs` is when, `vsq`
// is the filter when it is another one, "*" for none.

import { type Condition, formatFilter, same, tryParse, withCondition } from '../../state/filter'
import { parseSpan, type Window } from '../../state/range'
import type { Search } from '../../state/url'

export interface Base extends Window {
  filter: string
}

/** The filter of a side that has none: what is empty is left out of links. */
export const allProfiles = '*'

/** The other side: `before` is the period before, `same` the same time, 1d a day earlier, else fromMs-toMs. */
export function baseOf(url: Pick<Search, 'vs' | 'vsq' | 'q'>, w: Window): Base | undefined {
  const when = window(url.vs, w)
  return when && { ...when, filter: url.vsq === allProfiles ? '' : (url.vsq ?? url.q ?? '') }
}

function window(vs: string | undefined, w: Window): Window | undefined {
  if (!vs) return undefined
  if (vs === 'same') return { start: w.start, end: w.end }
  const fixed = /^(\d{10,14})-(\d{10,14})$/.exec(vs)
  if (fixed) {
    const [start, end] = [Number(fixed[1]), Number(fixed[2])]
    return start < end ? { start, end } : undefined
  }
  const by = vs === 'before' ? w.end - w.start : parseSpan(vs)
  return by ? { start: w.start - by, end: w.end - by } : undefined
}

/**
 * The patch that sets one value of a field against the others: the base has it,
 * the page has not. Where there are two, the page has the other one.
 */
export function againstValue(q: string | undefined, field: string, value: string, all: readonly string[]): Search {
  const conditions = tryParse(q).filter((c) => c.field !== field)
  const own = tryParse(q).find((c) => c.field === field && c.op === '=' && c.value !== value)
  const others = all.filter((v) => v !== value)
  const rest: Condition = own ?? (others.length === 1 ? { field, op: '=', value: others[0]! } : { field, op: '!=', value })
  return { vs: 'same', vsq: formatFilter(withCondition(conditions, { field, op: '=', value })), q: formatFilter(withCondition(conditions, rest)) }
}

/** The patch that changes the sides; undefined where there is one only. */
export function swapped(url: Pick<Search, 'vs' | 'vsq' | 'q'>, w: Window): Search | undefined {
  const base = baseOf(url, w)
  if (!base) return undefined
  const sameTime = base.start === w.start && base.end === w.end
  return {
    q: base.filter || undefined,
    vsq: url.vsq === undefined ? undefined : url.q || allProfiles,
    ...(sameTime ? {} : { from: String(Math.round(base.start)), to: String(Math.round(base.end)), vs: `${Math.round(w.start)}-${Math.round(w.end)}` }),
  }
}

/** The conditions of two filters that the other one does not have. */
export function apart(a: string, b: string): [string, string] {
  const [x, y] = [tryParse(a), tryParse(b)]
  const only = (of: Condition[], other: Condition[]) => formatFilter(of.filter((c) => !other.some((o) => same(o, c))))
  return [only(x, y), only(y, x)]
}
