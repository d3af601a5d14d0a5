// The filter grammar, as the API and the CLI read it:
//
//   service.name = order and duration > 200ms and status = error
//
//   filter = [ cond { [ "and" | "," ] cond } ]
//   cond   = key op value | "exists" key | key "exists" | text
//
// All conditions must hold. Keys, values and texts are words, or strings in
// double quotes (with escapes) or backticks (raw). A text is searched for.

export const operators = ['=', '!=', '=~', '!~', '<', '<=', '>', '>=', 'exists'] as const
export type Operator = (typeof operators)[number] | 'text'

export interface Condition {
  /** Empty for a text search. */
  field: string
  op: Operator
  /** Empty for `exists`. */
  value: string
}

export type Signal = 'traces' | 'logs'

export class FilterError extends Error {
  constructor(
    /** What could not be read. */
    readonly rest: string,
  ) {
    super(`cannot read ${rest}`)
  }
}

const keyWord = /[^\s\p{C},"`=!<>~()]+/uy
const valueWord = /[^\s\p{C},"`]+/uy
const operatorRun = /[=!<>~]+/y
const blank = /\s+/y
const doubleQuoted = /"(?:[^"\\\n]|\\[^])*"/y
const rawQuoted = /`[^`]*`/y

interface Term {
  text: string
  quoted: boolean
  from: number
  /** False for a quotation that does not end. */
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
    if (this.match(keyWord)?.toLowerCase() === word) return true
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
      return { text: c === '"' ? unescape(inner) : inner, quoted: true, from, closed: whole !== undefined }
    }
    const text = this.match(word)
    return text === undefined ? undefined : { text, quoted: false, from, closed: true }
  }
}

const named: Record<string, string> = { n: '\n', t: '\t', r: '\r', a: '\x07', b: '\b', f: '\f', v: '\v' }

function unescape(s: string): string {
  return s.replace(/\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([^]))/gi, (_, x, u, long, c) => {
    const code = (x ?? u ?? long) as string | undefined
    return code ? String.fromCodePoint(parseInt(code, 16)) : (named[c as string] ?? (c as string))
  })
}

/** Reads a filter. Throws FilterError where it cannot be read. */
export function parseFilter(text: string): Condition[] {
  const s = new Scanner(text)
  const conditions: Condition[] = []
  const fail = (from: number) => new FilterError(text.slice(from))
  for (;;) {
    s.skipBlank()
    if (s.done) return conditions
    if (conditions.length > 0 && (s.comma() || s.keyword('and'))) s.skipBlank()
    const from = s.at
    if (s.keyword('exists')) {
      s.skipBlank()
      const key = s.term(keyWord)
      if (!key?.closed || key.text === '') throw fail(from)
      conditions.push({ field: key.text, op: 'exists', value: '' })
      continue
    }
    const first = s.term(keyWord)
    if (!first?.closed || first.text === '') throw fail(from)
    const reserved = !first.quoted && ['and', 'or', 'not'].includes(first.text.toLowerCase())
    if (reserved) throw fail(from)
    const end = s.at
    s.skipBlank()
    const op = s.operator()
    if (op !== undefined) {
      const known = op === '==' ? '=' : operators.find((o) => o === op)
      s.skipBlank()
      const value = s.term(valueWord)
      if (!known || !value?.closed) throw fail(from)
      conditions.push({ field: first.text, op: known, value: value.text })
    } else if (s.keyword('exists')) {
      conditions.push({ field: first.text, op: 'exists', value: '' })
    } else {
      s.at = end
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

/** Quotes a key, value or text unless it reads back as a word. */
export function quote(text: string): string {
  const keyword = ['and', 'or', 'not', 'exists'].includes(text.toLowerCase())
  if (!keyword && /^[^\s\p{C},"`=!<>~()]+$/u.test(text)) return text
  const body = text.replace(/["\\]/g, '\\$&').replace(/\p{C}/gu, (c) => {
    if (c === '\n') return '\\n'
    if (c === '\t') return '\\t'
    const code = c.codePointAt(0)!.toString(16)
    return code.length > 4 ? `\\U${code.padStart(8, '0')}` : `\\u${code.padStart(4, '0')}`
  })
  return `"${body}"`
}

export function formatCondition(c: Condition): string {
  if (c.op === 'exists') return `exists ${quote(c.field)}`
  if (c.op === 'text') return quote(c.value)
  return `${quote(c.field)} ${c.op} ${quote(c.value)}`
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
    const word = key.quoted ? '' : key.text.toLowerCase()
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

/**
 * The conditions that also mean something for another signal, so that filters
 * travel along. Failed spans and error records are each other's counterpart.
 */
export function carry(conditions: readonly Condition[], to: Signal): Condition[] {
  const out: Condition[] = []
  for (const c of conditions) {
    if (to === 'logs' && same(c, { field: 'status', op: '=', value: 'error' }))
      out.push({ field: 'severity', op: '>=', value: 'error' })
    else if (to === 'traces' && c.field === 'severity' && c.op !== '!=' && (c.value === 'error' || c.value === 'fatal'))
      out.push({ field: 'status', op: '=', value: 'error' })
    else if (!(to === 'logs' ? spanOnly : logOnly).test(c.field)) out.push(c)
  }
  return out
}
