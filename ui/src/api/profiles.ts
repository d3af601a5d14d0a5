// Profiles: which there are, their frames, and the addresses under which tools
// find them as pprof.

import { keepPreviousData, queryOptions } from '@tanstack/react-query'
import { fetchJson, queryString } from './client'
import type { Question } from './queries'

export interface ProfileSeries {
  service: string
  type: string
  unit: string
  profiles: number
  first: string
  last: string
  total: number
  versions: string[]
  instances: string[]
}

/** Parallel arrays; parents stand before their children, -1 is none. */
export interface FlameAnswer {
  unit: string
  total: number
  base_total?: number
  truncated: boolean
  names: string[]
  kinds: string[]
  files: string[]
  nodes: { name: number[]; parent: number[]; self: number[]; value: number[]; base_value?: number[] }
}

const wire = (q: Question) => ({ from: String(Math.round(q.start)), to: String(Math.round(q.end)), filter: q.filter })

export const profileSeries = (q: Question) =>
  queryOptions({
    queryKey: ['profiles', q],
    queryFn: ({ signal }) => fetchJson<{ series: ProfileSeries[] }>(`/api/v1/profiles${queryString(wire(q))}`, { signal }),
    placeholderData: keepPreviousData,
  })

export const flame = (q: Question, type: string, base?: Question) =>
  queryOptions({
    queryKey: ['flame', q, type, base],
    queryFn: ({ signal }) => {
      const other = base && { base_from: String(Math.round(base.start)), base_to: String(Math.round(base.end)), base_filter: base.filter }
      return fetchJson<FlameAnswer>(`/api/v1/profiles/flame${queryString({ ...wire(q), type, ...other })}`, { signal })
    },
    placeholderData: keepPreviousData,
  })

/** Where the merged profile is, as pprof. */
export function pprofAddress(q: Question, type: string): string {
  return `${location.origin}/api/v1/profiles/merge${queryString({ ...wire(q), type })}`
}
