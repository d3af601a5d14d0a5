// What the values of fields must look like: the rules of the server
// (internal/query), so that a mistake is said while it is typed. The table in
// internal/query/testdata proves that both agree.

import type { Condition, Signal } from './filter'

/** Why a condition is refused; the texts are in the catalogues. */
export type Wrong =
  | { kind: 'operator' | 'duration' | 'number' }
  | { kind: 'oneOf'; names: readonly string[] }
  | { kind: 'hex'; digits: number }
  | { kind: 'order' | 'pattern'; field: string }

interface Kind {
  /** The value as the store compares it; nothing when it is none. */
  read: (text: string) => string | undefined
  ordered: boolean
  /** Kept as numbers, in which no expression finds text. */
  packed: boolean
  wrong: Wrong
}

/** In lower case as the server does it, one character for one. */
export function lower(text: string): string {
  return text.replaceAll('İ', 'i').toLowerCase()
}

function oneOf(ordered: boolean, ...names: string[]): Kind {
  return { read: (s) => names.find((n) => n === lower(s)), ordered, packed: false, wrong: { kind: 'oneOf', names } }
}

/** An id. Empty stands for its absence. */
function hex(digits: number, packed: boolean): Kind {
  const id = new RegExp(`^(?:[0-9a-f]{${digits}})?$`)
  return { read: (s) => (id.test(lower(s)) ? lower(s) : undefined), ordered: false, packed, wrong: { kind: 'hex', digits } }
}

const nanoseconds: Kind = { read: (s) => parseDuration(s)?.toString(), ordered: true, packed: true, wrong: { kind: 'duration' } }

const known: Record<Signal, ReadonlyMap<string, Kind>> = {
  traces: new Map([
    ['duration', nanoseconds],
    ['status', oneOf(false, 'unset', 'ok', 'error')],
    ['kind', oneOf(false, 'internal', 'server', 'client', 'producer', 'consumer', 'unspecified')],
    ['root', oneOf(false, 'true', 'false')],
    ['trace_id', hex(32, true)],
    ['span_id', hex(16, true)],
    ['parent_span_id', hex(16, true)],
  ]),
  logs: new Map([
    ['severity', oneOf(true, 'trace', 'debug', 'info', 'warn', 'error', 'fatal', 'unset')],
    ['trace_id', hex(32, false)],
    ['span_id', hex(16, false)],
  ]),
  network: new Map([
    ['health', oneOf(false, 'ok', 'warning', 'bad')],
    ['role', oneOf(false, 'client', 'server', 'unknown')],
    ...(['rtt_p50', 'rtt_p99', 'connect_p99'] as const).map((f) => [f, nanoseconds] as const),
  ]),
  profiles: new Map([['trace_id', hex(32, false)]]),
}

const patterns: readonly string[] = ['=~', '!~']
const orders: readonly string[] = ['<', '<=', '>', '>=']

/** What is wrong with a condition, and in which part of it. Patterns are checked by the server alone. */
export function check(c: Condition, signal: Signal): { part: 'op' | 'value'; wrong: Wrong } | undefined {
  if (c.op === 'text' || c.op === 'exists') return undefined
  const kind = known[signal].get(c.field)
  if (patterns.includes(c.op)) return kind?.packed ? { part: 'op', wrong: { kind: 'pattern', field: c.field } } : undefined
  if (kind) {
    if (orders.includes(c.op) && !kind.ordered) return { part: 'op', wrong: { kind: 'order', field: c.field } }
    return kind.read(c.value) === undefined ? { part: 'value', wrong: kind.wrong } : undefined
  }
  return orders.includes(c.op) && !isNumber(c.value) ? { part: 'value', wrong: { kind: 'number' } } : undefined
}

/** The value of a condition as the store compares it. */
export function canonical(c: Condition, signal: Signal): string {
  const kind = c.op === 'text' || c.op === 'exists' || patterns.includes(c.op) ? undefined : known[signal].get(c.field)
  return kind?.read(c.value) ?? c.value
}

const units: Record<string, bigint> = {
  ns: 1n, us: 1_000n, µs: 1_000n, μs: 1_000n, ms: 1_000_000n, s: 1_000_000_000n, m: 60_000_000_000n,
  h: 3_600_000_000_000n, d: 86_400_000_000_000n, w: 604_800_000_000_000n,
}
const durationPart = /([0-9.]+)(ns|us|µs|μs|ms|[smhdw])/y
const maxNanos = 2n ** 63n - 1n

/** Nanoseconds of 200ms, 1h30m…; undefined when it is not a duration. */
export function parseDuration(text: string): bigint | undefined {
  if (text === '') return undefined
  let sum = 0n
  for (let at = 0; at < text.length; ) {
    durationPart.lastIndex = at
    const m = durationPart.exec(text)
    if (!m) return undefined
    at += m[0].length
    const part = scale(m[1]!, units[m[2]!]!)
    if (part === undefined) return undefined
    sum += part
    if (sum > maxNanos) return undefined
  }
  return sum
}

function scale(digits: string, unit: bigint): bigint | undefined {
  if (!digits.includes('.')) {
    const whole = BigInt(digits)
    if (whole <= maxNanos) return whole * unit
  }
  const product = Number(digits) * Number(unit)
  // A number of more than one point is none, and 2^63 does not fit.
  return product < 2 ** 63 ? BigInt(Math.round(product)) : undefined
}

const special = /^(?:[+-]?inf(?:inity)?|nan)$/i
const decimal = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i
const hexadecimal = /^[+-]?0x([\da-f]*)\.?([\da-f]*)p([+-]?\d+)$/i

/** Whether the server takes a text for a number. */
export function isNumber(text: string): boolean {
  if (special.test(text)) return true
  if (text.includes('_') && !spaced(text)) return false
  const digits = text.replaceAll('_', '')
  if (decimal.test(digits)) return Number.isFinite(Number(digits))
  const m = hexadecimal.exec(digits)
  if (!m || m[1] + m[2]! === '') return false
  return Number.isFinite(Number(`0x${m[1]}${m[2]}`) * 2 ** (Number(m[3]) - 4 * m[2]!.length))
}

/** Whether underscores stand between digits only; the prefix of a base counts as one. */
function spaced(text: string): boolean {
  const [, base, number] = /^[+-]?(0[box])?(.*)$/i.exec(text)!
  const digit = base?.toLowerCase() === '0x' ? '[\\da-f]' : '\\d'
  return !new RegExp(`(?<!${digit}${base ? '|^' : ''})_|_(?!${digit})`, 'i').test(number!)
}
