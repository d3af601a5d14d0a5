// The moment that relative ranges refer to. It stands still between refreshes,
// so that all parts of a page speak of the same window.

import { useSyncExternalStore } from 'react'

let asOf = Date.now()
const listeners = new Set<() => void>()

/** Moves the moment to now: every relative range is read anew. */
export function refresh(): void {
  asOf = Date.now()
  for (const f of listeners) f()
}

export function useAsOf(): number {
  return useSyncExternalStore(
    (f) => {
      listeners.add(f)
      return () => listeners.delete(f)
    },
    () => asOf,
  )
}
