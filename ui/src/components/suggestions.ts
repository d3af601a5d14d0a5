import { useQuery } from '@tanstack/react-query'
import { useDeferredValue } from 'react'
import { fields, values } from '../api/queries'
import { operators, quote, quoteValue, type Signal, typing } from '../state/filter'
import { useTexts } from '../state/texts'
import { useQuestion } from '../state/url'

export interface Suggestion {
  /** The line after the suggestion was taken. */
  text: string
  label: string
  note?: string
  /** Whether the line is then a whole condition. */
  done: boolean
}

/** Fields and values that the page knows itself, for signals that are not asked for by field. */
export interface Known {
  fields: readonly { value: string; count: number }[]
  values: (field: string) => readonly { value: string; count: number }[]
}

const mostShown = 30

/** Around a named time, completion looks so far. */
const aroundMs = 3_600_000

/** What completes the line, given the filter that already holds and perhaps a time close to the rows. */
export function useSuggestions(signal: Signal, text: string, filter: string, on: boolean, at?: number, own?: Known): { title: string; suggestions: Suggestion[] } {
  const t = useTexts()
  const page = useQuestion()
  const now = typing(text)
  // Values are asked for by prefix; a fast typist needs only the last answer.
  const prefix = useDeferredValue(now.prefix)
  const question = at === undefined ? { start: page.start, end: page.end, filter } : { start: at - aroundMs, end: at + aroundMs, filter }
  const rows = own || signal === 'network' ? undefined : signal
  const byName = useQuery({ ...fields(question, rows ?? 'traces'), enabled: on && rows !== undefined && now.stage === 'field' })
  const field = now.stage === 'value' ? now.field : ''
  const byValue = useQuery({ ...values(question, rows ?? 'traces', field, prefix, mostShown), enabled: on && rows !== undefined && field !== '' })

  const head = text.slice(0, now.from)
  const needle = now.prefix.toLowerCase()
  switch (now.stage) {
    case 'field': {
      const all = own?.fields ?? byName.data?.fields ?? []
      const known = all.filter((f) => f.value.toLowerCase().includes(needle))
      known.sort((a, b) => Number(b.value.toLowerCase().startsWith(needle)) - Number(a.value.toLowerCase().startsWith(needle)))
      const found: Suggestion[] = known.slice(0, mostShown).map((f) => ({ text: `${head}${quote(f.value)} `, label: f.value, note: t.count(f.count), done: false }))
      const words: Suggestion[] = now.prefix ? [{ text: head + quote(now.prefix), label: t.filter.text(now.prefix), done: true }] : []
      return { title: t.filter.fields, suggestions: [...found, ...words] }
    }
    case 'operator':
      return {
        title: t.filter.operators,
        suggestions: operators
          .filter((o) => o.startsWith(now.prefix))
          .map((o) => ({ text: `${head}${o}${o === 'exists' ? '' : ' '}`, label: o, note: t.filter.operator[o], done: o === 'exists' })),
      }
    case 'value':
      return {
        title: t.filter.values,
        suggestions: (own?.values(field) ?? byValue.data?.values ?? [])
          .filter((v) => v.value.toLowerCase().startsWith(needle))
          .map((v) => ({ text: `${head.trimEnd()} ${quoteValue(v.value)}`, label: v.value || '""', note: t.count(v.count), done: true })),
      }
  }
}
