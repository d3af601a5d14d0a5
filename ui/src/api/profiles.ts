// Profiles: which there are, their frames, and the addresses under which tools
// find them as pprof.

import { keepPreviousData, queryOptions } from '@tanstack/react-query'
import { address, get, type Schemas } from './client'
import type { Question } from './queries'

export type ProfileSeries = Schemas['ProfileSeries']
export type FlameAnswer = Schemas['Flame']

const wire = (q: Question) => ({ from: String(Math.round(q.start)), to: String(Math.round(q.end)), filter: q.filter })

export const profileSeries = (q: Question) =>
  queryOptions({
    queryKey: ['profiles', q],
    queryFn: ({ signal }) => get('/api/v1/profiles', { query: wire(q) }, signal),
    placeholderData: keepPreviousData,
  })

export const flame = (q: Question, type: string, base?: Question) =>
  queryOptions({
    queryKey: ['flame', q, type, base],
    queryFn: ({ signal }) => {
      const other = base && { base_from: String(Math.round(base.start)), base_to: String(Math.round(base.end)), base_filter: base.filter || '*' }
      return get('/api/v1/profiles/flame', { query: { ...wire(q), type, ...other } }, signal)
    },
    placeholderData: keepPreviousData,
  })

/** Where the merged profile is, as pprof. */
export function pprofAddress(q: Question, type: string): string {
  return location.origin + address('/api/v1/profiles/merge', { query: { ...wire(q), type } })
}
