// Time ranges as they stand in the URL and in the picker. A moment is text:
// `now`, `now-15m`, a Unix time in milliseconds, or anything ISO 8601. The
// relative forms stay relative in a link, so that "the last hour" pasted into
// a chat is still the last hour.

export interface Range {
  from: string
  to: string
}

/** A resolved range in Unix milliseconds; start inclusive, end exclusive. */
export interface Window {
  start: number
  end: number
}

export const defaultRange: Range = { from: 'now-1h', to: 'now' }

/** The choices of the picker, shortest first. */
export const quickSpans = ['5m', '15m', '30m', '1h', '3h', '6h', '12h', '1d', '2d', '7d', '30d'] as const

const unitMs: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** Reads 90s, 1h30m, 7d… into milliseconds. */
export function parseSpan(text: string): number | undefined {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdw])/g)]
  if (parts.length === 0 || parts.map((p) => p[0]).join('') !== text) return undefined
  return parts.reduce((sum, [, n, unit]) => sum + Number(n) * unitMs[unit!]!, 0)
}

/** Writes milliseconds with the largest units that lose nothing: 1h30m. */
export function formatSpan(ms: number): string {
  let rest = Math.max(1, Math.round(ms))
  let out = ''
  for (const unit of ['d', 'h', 'm', 's', 'ms']) {
    const size = unitMs[unit]!
    const n = Math.floor(rest / size)
    if (n > 0) out += `${n}${unit}`
    rest -= n * size
  }
  return out
}

/** Reads one moment, in Unix milliseconds; undefined when it is not one. */
export function parseMoment(text: string, now: number): number | undefined {
  const s = text.trim()
  const relative = /^now(?:([+-])(.+))?$/.exec(s)
  if (relative) {
    if (!relative[1]) return now
    const span = parseSpan(relative[2]!.trim())
    return span === undefined ? undefined : relative[1] === '-' ? now - span : now + span
  }
  if (/^\d{10}$/.test(s)) return Number(s) * 1000
  if (/^\d{13}$/.test(s)) return Number(s)
  if (!/^\d{4}-\d{2}/.test(s)) return undefined
  const at = Date.parse(s.replace(' ', 'T'))
  return Number.isNaN(at) ? undefined : at
}

/** Resolves a range; what cannot be read falls back to the default range. */
export function resolve(range: Range, now: number): Window {
  const end = parseMoment(range.to, now) ?? now
  const start = parseMoment(range.from, now) ?? end - 3_600_000
  return start < end ? { start, end } : { start: end - 3_600_000, end }
}

export function isRelative(range: Range): boolean {
  return range.from.startsWith('now') || range.to.startsWith('now')
}

/** The span of `now-SPAN … now`; undefined for every other range. */
export function lastSpan(range: Range): string | undefined {
  return range.to === 'now' && range.from.startsWith('now-') ? range.from.slice(4) : undefined
}

export function absolute(w: Window): Range {
  return { from: String(Math.round(w.start)), to: String(Math.round(w.end)) }
}

/** Moves a window by a share of its width: -0.5 is half a width earlier. */
export function shift(w: Window, share: number): Range {
  const by = (w.end - w.start) * share
  return absolute({ start: w.start + by, end: w.end + by })
}

/** Doubles the window around its middle, but not beyond now. */
export function widen(w: Window, now: number): Range {
  const width = w.end - w.start
  const end = Math.min(w.end + width / 2, Math.max(now, w.end))
  return absolute({ start: end - width * 2, end })
}

/** Unix milliseconds, with fraction, of an RFC 3339 time. Date.parse drops what is finer than a millisecond. */
export function parseTime(rfc3339: string): number {
  const ms = Date.parse(rfc3339)
  const fine = /\.\d{3}(\d{1,6})/.exec(rfc3339)
  return fine ? ms + Number(`0.${fine[1]!}`) : ms
}
