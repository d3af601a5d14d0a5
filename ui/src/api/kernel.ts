// What the kernel saw: the network, the audit, kills for want of memory.

import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query'
import { get, type Schemas } from './client'
import type { Question } from './queries'

const wire = (q: Question) => ({ from: String(Math.round(q.start)), to: String(Math.round(q.end)), filter: q.filter })

export type Flow = Schemas['Flow']
export type Signal = Schemas['KernelSignal']
export type AuditEvent = Schemas['AuditEvent']
export type Story = Schemas['OOMStory']
export type Feature = Schemas['KernelFeature']
export type SpanSockets = Schemas['SpanSockets']
export type Level = Flow['health']
export type Severity = AuditEvent['severity']

export const network = (q: Question) =>
  queryOptions({
    queryKey: ['network', q],
    queryFn: ({ signal }) => get('/api/v1/kernel/network', { query: wire(q) }, signal),
    placeholderData: keepPreviousData,
  })

export const audit = (q: Question, severity: Severity, limit = 200) =>
  infiniteQueryOptions({
    queryKey: ['audit', q, severity, limit],
    queryFn: ({ signal, pageParam }) => get('/api/v1/kernel/audit', { query: { ...wire(q), severity, limit, cursor: pageParam } }, signal),
    initialPageParam: '',
    getNextPageParam: (last) => last.next || undefined,
    placeholderData: keepPreviousData,
  })

/** The rules in force in a time range. */
export const auditRules = ({ start, end }: Question) =>
  queryOptions({
    queryKey: ['auditRules', start, end],
    queryFn: ({ signal }) => get('/api/v1/kernel/audit/rules', { query: { from: String(Math.round(start)), to: String(Math.round(end)) } }, signal),
    placeholderData: keepPreviousData,
  })

export const kills = (q: Question, limit = 20) =>
  infiniteQueryOptions({
    queryKey: ['oom', q, limit],
    queryFn: ({ signal, pageParam }) => get('/api/v1/kernel/oom', { query: { ...wire(q), limit, cursor: pageParam } }, signal),
    initialPageParam: '',
    getNextPageParam: (last) => last.next || undefined,
    placeholderData: keepPreviousData,
  })

/** Facts of the sockets behind a trace's client spans. */
export const socketsOf = (traceId: string, near: number) =>
  queryOptions({
    queryKey: ['sockets', traceId],
    queryFn: ({ signal }) => get('/api/v1/kernel/facts', { query: { trace_id: traceId, near: String(Math.round(near)) } }, signal),
  })

export const factsOf = (service: string, q: Question) =>
  queryOptions({
    queryKey: ['facts', service, q.start, q.end],
    queryFn: ({ signal }) => get('/api/v1/kernel/facts', { query: { service, from: String(Math.round(q.start)), to: String(Math.round(q.end)) } }, signal),
    placeholderData: (last, lastQuery) => (lastQuery?.queryKey[1] === service ? last : undefined),
  })
