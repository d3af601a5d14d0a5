// The one way to ask the server. Types come from the OpenAPI document; run
// `npm run api` after it changed.

import type { components, paths } from './schema'

export type Schemas = components['schemas']

type GetPath = { [P in keyof paths]: paths[P] extends { get: object } ? P : never }[keyof paths]
type Operation<P extends GetPath> = paths[P] extends { get: infer O } ? O : never
type Json<P extends GetPath> = Operation<P> extends { responses: { 200: { content: { 'application/json': infer R } } } } ? R : never
type Parameters<P extends GetPath> = Operation<P> extends { parameters: infer A } ? A : never
type QueryOf<P extends GetPath> = Parameters<P> extends { query?: infer Q } ? Q : never
type PathOf<P extends GetPath> = Parameters<P> extends { path: infer A } ? A : undefined

export interface Problem {
  location?: string
  message?: string
}

/** What the server said was wrong; status 0 when it could not be reached. */
export class ApiError extends Error {
  constructor(
    readonly url: string,
    readonly status: number,
    message: string,
    readonly problems: readonly Problem[] = [],
  ) {
    super(message)
  }
}

/** Fetches JSON. Aborts with signal; every other failure is an ApiError. */
export async function fetchJson<T>(url: string, init?: RequestInit): Promise<T> {
  let response: Response
  try {
    response = await fetch(url, { headers: { Accept: 'application/json' }, ...init })
  } catch (e) {
    if (init?.signal?.aborted) throw e
    throw new ApiError(url, 0, e instanceof Error ? e.message : String(e))
  }
  const body = await response.text()
  let parsed: unknown
  try {
    parsed = JSON.parse(body)
  } catch {
    throw new ApiError(url, response.status, response.ok ? 'the answer is not JSON' : body.slice(0, 500) || response.statusText)
  }
  if (response.ok) return parsed as T
  const p = parsed as { detail?: string; title?: string; error?: string; errors?: Problem[] | null }
  throw new ApiError(url, response.status, p.detail ?? p.error ?? p.title ?? response.statusText, p.errors ?? [])
}

type Value = string | number | boolean | undefined

/** A query string without what is empty. */
export function queryString(values: Record<string, Value>): string {
  const q = new URLSearchParams()
  for (const [k, v] of Object.entries(values)) if (v !== undefined && v !== '') q.set(k, String(v))
  const text = q.toString()
  return text && `?${text}`
}

/** The address of a route of the JSON API. */
export function address<P extends GetPath>(path: P, values: { path?: PathOf<P>; query?: QueryOf<P> }): string {
  const parts: Record<string, string> = values.path ?? {}
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(parts[name] ?? ''))
  return filled + queryString(values.query ?? {})
}

/** Asks a route of the JSON API. */
export function get<P extends GetPath>(
  path: P,
  values: { path?: PathOf<P>; query?: QueryOf<P> },
  signal?: AbortSignal,
): Promise<Json<P>> {
  return fetchJson<Json<P>>(address(path, values), { signal })
}
