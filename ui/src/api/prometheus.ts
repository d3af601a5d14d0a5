// The parts of the Prometheus HTTP API that pages use.

import { keepPreviousData, queryOptions } from '@tanstack/react-query'
import { fetchJson, queryString } from './client'

export type Labels = Record<string, string>

export interface Bucket {
  lo: number
  hi: number
  count: number
}

export interface Series {
  labels: Labels
  /** Unix seconds and value; gaps are left out. */
  points: [number, number][]
  /** For native histograms, instead of points. */
  histograms?: [number, Bucket[]][]
}

export interface Exemplar {
  /** Unix seconds. */
  time: number
  value: number
  traceId: string
  labels: Labels
}

export interface Metadata {
  type: string
  help: string
  unit: string
}

interface Answer<T> {
  data: T
  warnings?: string[]
  infos?: string[]
}

interface RawSeries {
  metric: Labels
  values?: [number, string][]
  value?: [number, string]
  histograms?: [number, { buckets?: [number, string, string, string][] }][]
  histogram?: [number, { buckets?: [number, string, string, string][] }]
}

async function ask<T>(path: string, values: Record<string, string | number | undefined>, signal: AbortSignal): Promise<Answer<T>> {
  return fetchJson<Answer<T>>(`/api/v1/${path}${queryString(values)}`, { signal })
}

function readSeries(raw: RawSeries): Series {
  const histograms = raw.histograms ?? (raw.histogram && [raw.histogram])
  return {
    labels: raw.metric,
    points: (raw.values ?? (raw.value ? [raw.value] : [])).map(([t, v]) => [t, readNumber(v)]),
    histograms: histograms?.map(([t, h]) => [t, (h.buckets ?? []).map(([, lo, hi, n]) => ({ lo: readNumber(lo), hi: readNumber(hi), count: readNumber(n) }))]),
  }
}

export function readNumber(text: string): number {
  return text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text)
}

export interface RangeResult {
  series: Series[]
  warnings: string[]
}

/** Seconds between points: round, with about as many points as a chart has room for. */
export function stepFor(start: number, end: number, points = 240): number {
  const rough = (end - start) / 1000 / points
  return [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400].find((s) => s >= rough) ?? Math.ceil(rough / 86400) * 86400
}

interface Window {
  start: number
  end: number
}

export const queryRange = (w: Window, expr: string, step = stepFor(w.start, w.end)) =>
  queryOptions({
    queryKey: ['range', expr, w, step],
    queryFn: async ({ signal }): Promise<RangeResult> => {
      // On multiples of the step, so that points do not move when the window does.
      const start = Math.floor(w.start / 1000 / step) * step
      const a = await ask<{ resultType: string; result: RawSeries[] }>('query_range', { query: expr, start, end: Math.ceil(w.end / 1000), step }, signal)
      return { series: a.data.result.map(readSeries), warnings: [...(a.warnings ?? []), ...(a.infos ?? [])] }
    },
    placeholderData: keepPreviousData,
  })

export const exemplars = (w: Window, expr: string) =>
  queryOptions({
    queryKey: ['exemplars', expr, w],
    queryFn: async ({ signal }): Promise<Exemplar[]> => {
      type Raw = { seriesLabels: Labels; exemplars: { labels: Labels; value: string; timestamp: number }[] }
      const a = await ask<Raw[]>('query_exemplars', { query: expr, start: w.start / 1000, end: w.end / 1000 }, signal)
      return a.data.flatMap((s) =>
        s.exemplars.flatMap((e) => {
          const traceId = e.labels.trace_id ?? e.labels.traceID ?? e.labels.traceid
          return traceId ? [{ time: e.timestamp, value: readNumber(e.value), traceId, labels: { ...s.seriesLabels, ...e.labels } }] : []
        }),
      )
    },
  })

export const metadata = () =>
  queryOptions({
    queryKey: ['metadata'],
    queryFn: async ({ signal }) => (await ask<Record<string, Metadata[]>>('metadata', {}, signal)).data,
    staleTime: 300_000,
  })

export const metricNames = (w: Window) =>
  queryOptions({
    queryKey: ['metricNames', w],
    queryFn: async ({ signal }) => (await ask<string[]>('label/__name__/values', { start: w.start / 1000, end: w.end / 1000 }, signal)).data,
    placeholderData: keepPreviousData,
  })

export const labelNames = (w: Window, metric: string) =>
  queryOptions({
    queryKey: ['labelNames', metric, w],
    queryFn: async ({ signal }) =>
      (await ask<string[]>('labels', { 'match[]': selector(metric), start: w.start / 1000, end: w.end / 1000 }, signal)).data.filter((l) => l !== '__name__'),
  })

export const labelValues = (w: Window, metric: string, label: string) =>
  queryOptions({
    queryKey: ['labelValues', metric, label, w],
    queryFn: async ({ signal }) =>
      (await ask<string[]>(`label/${encodeURIComponent(label)}/values`, { 'match[]': selector(metric), start: w.start / 1000, end: w.end / 1000 }, signal)).data,
  })

/** A PromQL string. */
export function promString(text: string): string {
  return JSON.stringify(text)
}

/** Selects a metric by name, also one whose name is not a classic identifier. */
export function selector(metric: string, matchers: readonly string[] = []): string {
  if (/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(metric)) return matchers.length > 0 ? `${metric}{${matchers.join(', ')}}` : metric
  return `{${[promString(metric), ...matchers].join(', ')}}`
}

/** Matches the metrics that a service itself sends: OTLP names it in job, after its namespace if it has one. */
export function jobOf(service: string): string {
  const escaped = service.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return `job=~${promString(`(.+/)?${escaped}`)}`
}

/** A series as people write it: name{label="value"}. */
export function seriesName(labels: Labels): string {
  const { __name__: name = '', ...rest } = labels
  const pairs = Object.entries(rest).map(([k, v]) => `${k}=${promString(v)}`)
  return pairs.length > 0 ? `${name}{${pairs.join(', ')}}` : name || '{}'
}
