// What pages ask, as options for TanStack Query: the key says all that the
// answer depends on, so that a changed question aborts the old one.

import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query'
import { get } from './client'

/** A time range in Unix milliseconds and a filter. */
export interface Question {
  start: number
  end: number
  filter?: string
}

type Signal = 'traces' | 'logs' | 'profiles'

const wire = (q: Question) => ({ start: String(Math.round(q.start)), end: String(Math.round(q.end)), filter: q.filter })

export const services = (q: Question, steps = 30) =>
  queryOptions({
    queryKey: ['services', q, steps],
    queryFn: ({ signal }) => get('/guanlan/v1/services', { query: { ...wire(q), steps } }, signal),
    placeholderData: keepPreviousData,
  })

export const service = (q: Question, name: string, steps = 60) =>
  queryOptions({
    queryKey: ['service', name, q, steps],
    queryFn: ({ signal }) => get('/guanlan/v1/services/{service}', { path: { service: name }, query: { ...wire(q), steps } }, signal),
    placeholderData: (last, lastQuery) => (lastQuery?.queryKey[1] === name ? last : undefined),
  })

export const graph = (q: Question, focus = '') =>
  queryOptions({
    queryKey: ['graph', q, focus],
    queryFn: ({ signal }) => get('/guanlan/v1/graph', { query: { ...wire(q), focus } }, signal),
    placeholderData: keepPreviousData,
  })

export const traces = (q: Question, limit = 100) =>
  infiniteQueryOptions({
    queryKey: ['traces', q, limit],
    queryFn: ({ signal, pageParam }) => get('/guanlan/v1/traces', { query: { ...wire(q), limit, cursor: pageParam } }, signal),
    initialPageParam: '',
    getNextPageParam: (last) => last.next || undefined,
    placeholderData: keepPreviousData,
  })

export const trace = (traceId: string, near?: string) =>
  queryOptions({
    queryKey: ['trace', traceId],
    queryFn: ({ signal }) => get('/guanlan/v1/traces/{traceId}', { path: { traceId }, query: { near } }, signal),
  })

export const heat = (q: Question, columns: number) =>
  queryOptions({
    queryKey: ['heat', q, columns],
    queryFn: ({ signal }) => get('/guanlan/v1/traces/heatmap', { query: { ...wire(q), columns } }, signal),
    placeholderData: keepPreviousData,
  })

/** A selection in the heat map; a bound of 0 ns is none. */
export interface Box {
  start: number
  end: number
  minNs: number
  maxNs: number
}

export const compare = (q: Question, box: Box) =>
  queryOptions({
    queryKey: ['compare', q, box],
    queryFn: ({ signal }) =>
      get(
        '/guanlan/v1/traces/compare',
        {
          query: {
            ...wire(q),
            selStart: String(Math.round(box.start)),
            selEnd: String(Math.round(box.end)),
            // Durations are whole nanoseconds, edges of cells are not.
            selMinNs: Math.ceil(box.minNs),
            selMaxNs: Math.ceil(box.maxNs),
          },
        },
        signal,
      ),
  })

export const fields = (q: Question, signal: Signal) =>
  queryOptions({
    queryKey: ['fields', signal, q],
    queryFn: (c) => get('/guanlan/v1/fields/{signal}', { path: { signal }, query: wire(q) }, c.signal),
    placeholderData: keepPreviousData,
  })

export const values = (q: Question, signal: Signal, field: string, prefix = '', limit = 20) =>
  queryOptions({
    queryKey: ['values', signal, q, field, prefix, limit],
    queryFn: (c) => get('/guanlan/v1/values/{signal}', { path: { signal }, query: { ...wire(q), field, prefix, limit } }, c.signal),
  })

export const logs = (q: Question, limit = 200) =>
  infiniteQueryOptions({
    queryKey: ['logs', q, limit],
    queryFn: ({ signal, pageParam }) => get('/guanlan/v1/logs', { query: { ...wire(q), limit, cursor: pageParam } }, signal),
    initialPageParam: '',
    getNextPageParam: (last) => last.next || undefined,
    placeholderData: keepPreviousData,
  })

export const logVolume = (q: Question, columns: number) =>
  queryOptions({
    queryKey: ['logVolume', q, columns],
    queryFn: ({ signal }) => get('/guanlan/v1/logs/volume', { query: { ...wire(q), columns } }, signal),
    placeholderData: keepPreviousData,
  })

export const logPatterns = (q: Question) =>
  queryOptions({
    queryKey: ['logPatterns', q],
    queryFn: ({ signal }) => get('/guanlan/v1/logs/patterns', { query: wire(q) }, signal),
    placeholderData: keepPreviousData,
  })

export const logContext = (id: string, n: number) =>
  queryOptions({
    queryKey: ['logContext', id, n],
    queryFn: ({ signal }) => get('/guanlan/v1/logs/context', { query: { id, n } }, signal),
    placeholderData: keepPreviousData,
  })

/** What the user looks at. */
export interface Anchor {
  service?: string
  traceId?: string
  spanId?: string
  start: number
  end: number
}

export const related = ({ service, traceId, spanId, start, end }: Anchor) =>
  queryOptions({
    queryKey: ['related', service, traceId, spanId, start, end],
    queryFn: ({ signal }) =>
      get('/guanlan/v1/related', { query: { service, traceId, spanId, start: String(Math.floor(start)), end: String(Math.ceil(end)) } }, signal),
  })

export const status = () =>
  queryOptions({
    queryKey: ['status'],
    queryFn: ({ signal }) => get('/guanlan/v1/status', {}, signal),
    staleTime: 5000,
  })
