// The filter grammar, as the API and the CLI read it:
//
//   service.name = order and duration > 200ms and status = error
//
//   filter = [ cond { [ "and" | "," ] cond } ]
//   cond   = key op value | "exists" key | key "exists" | text
//
// All conditions must hold. Keys, values and texts are words, or strings in
// double quotes (with the escapes of Go) or backticks (raw). A text is searched
// for. The server decides; internal/query/testdata/filters.json, which its tests
// write and those of this file read, proves that both read the same.

import { check, lower, type Wrong } from './values.ts'

export const operators = ['=', '!=', '=~', '!~', '<', '<=', '>', '>=', 'exists'] as const
export type Operator = (typeof operators)[number] | 'text'

export interface Condition {
  /** Empty for a text search. */
  field: string
  op: Operator
  /** Empty for `exists`. */
  value: string
}

export type Signal = 'traces' | 'logs' | 'profiles' | 'network'

/** Why a filter cannot be read; the texts are in the catalogues. */
export type Reason = Wrong | { kind: 'syntax' | 'or' | 'not' | 'parentheses' | 'quote' | 'long' }

export class FilterError extends Error {
  constructor(
    /** What could not be read. */
    readonly rest: string,
    /** Where, in characters from 1 on, as the server counts. */
    readonly position: number,
    readonly reason: Reason,
  ) {
    super(`cannot read ${rest}`)
  }
}

/** UTF-8 bytes, conditions. */
const maxFilter = 16 << 10
const maxConditions = 64

const keyWord = /[^\p{White_Space}\p{Cc}\p{Cf}\p{Cs}\p{Co},"`\uFFFD=!<>~()]+/uy
const valueWord = /[^\p{White_Space}\p{Cc}\p{Cf}\p{Cs}\p{Co},"`\uFFFD]+/uy
const operatorRun = /[=!<>~]+/y
const blank = /\p{White_Space}+/uy
const onlyBlank = /^\p{White_Space}*$/u
const escape = /\\(?:([abfnrtv\\"])|x([\da-fA-F]{2})|([0-3][0-7]{2})|u([\da-fA-F]{4})|U(000[\da-fA-F]{5}|0010[\da-fA-F]{4}))/y
const doubleQuoted = /"(?:[^"\\\n]|\\[^\n])*"/y
const rawQuoted = /`[^`]*`/y

interface Term {
  text: string
  quoted: boolean
  from: number
  /** False for a quotation that does not end or holds a wrong escape. */
  closed: boolean
}

/** Reads terms and operators from left to right. */
class Scanner {
  at = 0
  constructor(readonly text: string) {}

  private match(re: RegExp): string | undefined {
    re.lastIndex = this.at
    const m = re.exec(this.text)?.[0]
    if (m !== undefined) this.at += m.length
    return m
  }

  get done(): boolean {
    return this.at >= this.text.length
  }

  skipBlank(): void {
    this.match(blank)
  }

  comma(): boolean {
    if (this.text[this.at] !== ',') return false
    this.at++
    return true
  }

  keyword(word: string): boolean {
    const from = this.at
    if (lower(this.match(keyWord) ?? '') === word) return true
    this.at = from
    return false
  }

  operator(): string | undefined {
    return this.match(operatorRun)
  }

  term(word: RegExp): Term | undefined {
    const from = this.at
    const c = this.text[from]
    if (c === '"' || c === '`') {
      const whole = this.match(c === '"' ? doubleQuoted : rawQuoted)
      if (whole === undefined) this.at = this.text.length
      const inner = whole === undefined ? this.text.slice(from + 1) : whole.slice(1, -1)
      const text = c === '"' ? unescape(inner) : inner
      return { text: text ?? inner, quoted: true, from, closed: whole !== undefined && text !== undefined }
    }
    const text = this.match(word)
    return text === undefined ? undefined : { text, quoted: false, from, closed: true }
  }
}

const named: Record<string, string> = { n: '\n', t: '\t', r: '\r', a: '\x07', b: '\b', f: '\f', v: '\v', '"': '"', '\\': '\\' }

/** The text between double quotes; undefined where an escape is wrong. \\x and \\377 are bytes, \\u and \\U characters. */
function unescape(s: string): string | undefined {
  if (!s.includes('\\')) return s
  const bytes: number[] = []
  const utf8 = new TextEncoder()
  for (let at = 0; at < s.length; ) {
    const end = s.indexOf('\\', at)
    bytes.push(...utf8.encode(s.slice(at, end < 0 ? s.length : end)))
    if (end < 0) break
    escape.lastIndex = end
    const m = escape.exec(s)
    if (!m) return undefined
    at = end + m[0].length
    const [, short, x, octal, u = m[5]] = m
    if (short) bytes.push(named[short]!.charCodeAt(0))
    else if (x) bytes.push(parseInt(x, 16))
    else if (octal) bytes.push(parseInt(octal, 8))
    else {
      const code = parseInt(u!, 16)
      if (code >= 0xd800 && code < 0xe000) return undefined
      bytes.push(...utf8.encode(String.fromCodePoint(code)))
    }
  }
  return decode(new Uint8Array(bytes))
}

/**
 * UTF-8 as text. A byte that is no part of a character becomes half of a
 * surrogate pair, U+DC80 to U+DCFF, which quote writes as the byte again.
 */
function decode(bytes: Uint8Array): string {
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const read = (from: number, to?: number): string | undefined => {
    try {
      return utf8.decode(bytes.subarray(from, to))
    } catch {
      return undefined
    }
  }
  const whole = read(0)
  if (whole !== undefined) return whole
  let out = ''
  for (let i = 0; i < bytes.length; ) {
    const n = [1, 2, 3, 4].find((k) => i + k <= bytes.length && read(i, i + k) !== undefined)
    out += n === undefined ? String.fromCharCode(0xdc00 + bytes[i]!) : read(i, i + n)
    i += n ?? 1
  }
  return out
}

function checkLength(text: string): void {
  if (text.length * 3 <= maxFilter) return
  let [bytes, n] = [0, 0]
  for (const c of text) {
    const size = new TextEncoder().encode(c).length
    // The bytes of a character that is cut in two count each.
    if (bytes + size > maxFilter) throw new FilterError(c, n + maxFilter - bytes + 1, { kind: 'long' })
    bytes += size
    n++
  }
}

/** Reads a filter. Throws FilterError where it cannot be read; with a signal also where a value cannot be right. */
export function parseFilter(text: string, signal?: Signal): Condition[] {
  checkLength(text)
  const s = new Scanner(text)
  const conditions: Condition[] = []
  let from = 0
  const fail = (at: number, reason: Reason = { kind: 'syntax' }): never => {
    throw new FilterError(text.slice(from) || text, [...text.slice(0, at)].length + 1, reason)
  }
  const term = (word: RegExp): Term => {
    const at = s.at
    const t = s.term(word)
    if (!t) return fail(at, { kind: /[()]/.test(text[at] ?? '') ? 'parentheses' : 'syntax' })
    if (!t.closed) return fail(at, { kind: 'quote' })
    return t
  }
  for (;;) {
    s.skipBlank()
    if (s.done) return conditions
    from = s.at
    if (conditions.length > 0) {
      if (s.comma() || s.keyword('and')) {
        s.skipBlank()
        if (s.done) fail(s.at)
      } else if (s.keyword('or')) fail(from, { kind: 'or' })
      from = s.at
    }
    if (conditions.length === maxConditions) fail(from, { kind: 'long' })
    const first = term(keyWord)
    const word = first.quoted ? '' : lower(first.text)
    if (word === 'exists') {
      s.skipBlank()
      const at = s.at
      const key = term(keyWord)
      if (onlyBlank.test(key.text)) fail(at)
      conditions.push({ field: key.text, op: 'exists', value: '' })
      continue
    }
    if (word === 'and') fail(from)
    if (word === 'or' || word === 'not') fail(from, { kind: word })
    s.skipBlank()
    const next = s.at
    const op = s.operator()
    if (op !== undefined) {
      s.skipBlank()
      const valueAt = s.at
      if (onlyBlank.test(first.text)) fail(from)
      const value = term(valueWord).text
      const found = op === '==' ? '=' : (operators.find((o) => o === op) ?? fail(next, { kind: 'operator' }))
      const condition: Condition = { field: first.text, op: found, value }
      const problem = signal && check(condition, signal)
      if (problem) fail(problem.part === 'op' ? next : valueAt, problem.wrong)
      conditions.push(condition)
    } else if (s.keyword('exists')) {
      if (onlyBlank.test(first.text)) fail(from)
      conditions.push({ field: first.text, op: 'exists', value: '' })
    } else {
      s.at = next
      if (onlyBlank.test(first.text)) fail(from)
      conditions.push({ field: '', op: 'text', value: first.text })
    }
  }
}

/** As parseFilter, but with nothing where the text cannot be read. */
export function tryParse(text: string | undefined): Condition[] {
  try {
    return parseFilter(text ?? '')
  } catch {
    return []
  }
}

const shorts = Object.fromEntries(Object.entries(named).map(([letter, c]) => [c, letter]))

/** Quotes a key or a text unless it reads back as a word. */
export function quote(text: string): string {
  return isWord(keyWord, text) ? text : inQuotes(text)
}

/** Quotes a value, which may hold operators and parentheses. */
export function quoteValue(text: string): string {
  return isWord(valueWord, text) && !/^[=!<>~()]/.test(text) ? text : inQuotes(text)
}

function isWord(word: RegExp, text: string): boolean {
  word.lastIndex = 0
  return word.exec(text)?.[0] === text && !['and', 'or', 'not', 'exists'].includes(lower(text))
}

function inQuotes(text: string): string {
  const body = text.replace(/["\\\p{C}\p{Z}]/gu, (c) => {
    const code = c.codePointAt(0)!
    const hex = (digits: number) => code.toString(16).padStart(digits, '0')
    if (c === ' ') return c
    if (shorts[c]) return `\\${shorts[c]}`
    if (code < 0x20 || code === 0x7f) return `\\x${hex(2)}`
    // Half of a surrogate pair: a byte that decode found, or no character at all.
    if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code & 0xff).toString(16)}`
    if (code >= 0xd800 && code <= 0xdfff) return '\ufffd'
    return code > 0xffff ? `\\U${hex(8)}` : `\\u${hex(4)}`
  })
  return `"${body}"`
}

export function formatCondition(c: Condition): string {
  if (c.op === 'exists') return `exists ${quote(c.field)}`
  if (c.op === 'text') return quote(c.value)
  return `${quote(c.field)} ${c.op} ${quoteValue(c.value)}`
}

export function formatFilter(conditions: readonly Condition[]): string {
  return conditions.map(formatCondition).join(' and ')
}

export function same(a: Condition, b: Condition): boolean {
  return a.field === b.field && a.op === b.op && a.value === b.value
}

/** Adds a condition. Those that it repeats or contradicts give way. */
export function withCondition(conditions: readonly Condition[], c: Condition): Condition[] {
  const opposite = c.op === '=' ? '!=' : c.op === '!=' ? '=' : undefined
  const gone = (o: Condition) =>
    same(o, c) ||
    (opposite !== undefined && same(o, { ...c, op: opposite })) ||
    // Two different values of one field can never hold together.
    (c.op === '=' && o.op === '=' && o.field === c.field)
  return [...conditions.filter((o) => !gone(o)), c]
}

/** What is being typed at the end of a text: which part, and from where on a completion replaces it. */
export type Typing =
  | { stage: 'field'; prefix: string; from: number }
  | { stage: 'operator'; field: string; prefix: string; from: number }
  | { stage: 'value'; field: string; op: string; prefix: string; from: number }

export function typing(text: string): Typing {
  const s = new Scanner(text)
  for (;;) {
    s.skipBlank()
    while (s.comma()) s.skipBlank()
    const start = s.at
    if (s.done) return { stage: 'field', prefix: '', from: start }
    const key = s.term(keyWord)
    if (!key) return { stage: 'field', prefix: '', from: text.length }
    const word = key.quoted ? '' : lower(key.text)
    if (s.done) return { stage: 'field', prefix: key.text, from: key.from }
    if (word === 'and' || word === 'exists') continue
    s.skipBlank()
    if (s.done) return { stage: 'operator', field: key.text, prefix: '', from: s.at }
    const opFrom = s.at
    const op = s.operator()
    if (op === undefined) {
      const rest = s.at
      if (s.keyword('exists')) continue
      s.at = rest
      // Letters after a key: the start of `exists`, else another condition.
      const next = s.term(keyWord)
      if (next && s.done && 'exists'.startsWith(next.text))
        return { stage: 'operator', field: key.text, prefix: next.text, from: next.from }
      s.at = next ? rest : text.length
      continue
    }
    // `duration >` may still become `duration >=`.
    if (s.done && op !== '=') return { stage: 'operator', field: key.text, prefix: op, from: opFrom }
    s.skipBlank()
    if (s.done) return { stage: 'value', field: key.text, op, prefix: '', from: s.at }
    const value = s.term(valueWord)
    if (!value || s.done) return { stage: 'value', field: key.text, op, prefix: value?.text ?? '', from: value?.from ?? s.at }
  }
}

const spanOnly = /^(?:duration|status|status\.message|kind|name|parent_span_id|root|event\.name|span\..+)$/
const logOnly = /^(?:severity|severity_text|body|event_name|log\..+)$/
const flowOnly = /^(?:source|target|address|port|role|health|signal|bytes|retransmits|retransmit_ratio|failures|resets|connections|rtt_p50|rtt_p99|connect_p99)$/
/** What flows have of the fields of other signals. */
const flowToo = /^(?:service\.name|host\.name|network\.peer\.(?:address|port)|error\.type)$/
/** Samples know the trace that ran, rarely the span. */
const rowOnly = /^(?:span_id|scope\.name|)$/
const foreign: Record<Exclude<Signal, 'network'>, readonly RegExp[]> = { traces: [logOnly, flowOnly], logs: [spanOnly, flowOnly], profiles: [spanOnly, logOnly, rowOnly, flowOnly] }

/**
 * The conditions that also mean something for another signal, so that filters
 * travel along. Failed spans and error records are each other's counterpart.
 */
export function carry(conditions: readonly Condition[], to: Signal): Condition[] {
  const out: Condition[] = []
  if (to === 'network') return conditions.filter((c) => (flowOnly.test(c.field) || flowToo.test(c.field)) && !check(c, to))
  for (const c of conditions) {
    if (to === 'logs' && same(c, { field: 'status', op: '=', value: 'error' }))
      out.push({ field: 'severity', op: '>=', value: 'error' })
    else if (to === 'traces' && c.field === 'severity' && c.op !== '!=' && (c.value === 'error' || c.value === 'fatal'))
      out.push({ field: 'status', op: '=', value: 'error' })
    else if (!foreign[to].some((f) => f.test(c.field))) out.push(c)
  }
  // What is an attribute there can be a field of another form here.
  return out.filter((c) => !check(c, to))
}
