// The moment that relative ranges refer to. It stands still between refreshes,
// so that all parts of a page speak of the same window.

import { useEffect, useState, useSyncExternalStore } from 'react'

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

/** The time now, for texts like "5 seconds ago"; moves on every few seconds. */
export function useNow(everyMs = 5000): number {
  const [now, setNow] = useState(() => Date.now())
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
  return now
}
