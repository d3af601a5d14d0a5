// What a person prefers on this browser, kept in localStorage. Whatever a link
// should carry belongs in the URL instead.

import { useSyncExternalStore } from 'react'

export interface Preferences {
  theme: 'system' | 'light' | 'dark'
  locale: 'auto' | 'en' | 'zh-CN'
  zone: 'local' | 'utc'
  /** Seconds between refreshes of a relative range; 0 is never. */
  refresh: number
  wrapLogs: boolean
  showFields: boolean
  /** Equal audit events one after the other are one row. */
  foldRepeats: boolean
  /** Share of the waterfall's width that names take. */
  nameShare: number
}

const initial: Preferences = {
  theme: 'system',
  locale: 'auto',
  zone: 'local',
  refresh: 0,
  wrapLogs: false,
  showFields: true,
  foldRepeats: true,
  nameShare: 0.34,
}

const key = 'guanlan.preferences'

function load(): Preferences {
  try {
    return { ...initial, ...(JSON.parse(localStorage.getItem(key) ?? '{}') as Partial<Preferences>) }
  } catch {
    // Storage is forbidden, or holds what another version wrote.
    return initial
  }
}

let current = load()
const listeners = new Set<() => void>()

export function preferences(): Preferences {
  return current
}

export function setPreferences(patch: Partial<Preferences>): void {
  current = { ...current, ...patch }
  try {
    localStorage.setItem(key, JSON.stringify(current))
  } catch {
    // It then holds until the page closes.
  }
  for (const f of listeners) f()
}

export function subscribe(f: () => void): () => void {
  listeners.add(f)
  return () => listeners.delete(f)
}

export function usePreferences(): Preferences {
  return useSyncExternalStore(subscribe, preferences)
}

/** Whether dark is meant, by choice or by the system. */
export function useDark(): boolean {
  const { theme } = usePreferences()
  const system = useSyncExternalStore(
    (f) => {
      const q = matchMedia('(prefers-color-scheme: dark)')
      q.addEventListener('change', f)
      return () => q.removeEventListener('change', f)
    },
    () => matchMedia('(prefers-color-scheme: dark)').matches,
  )
  return theme === 'dark' || (theme === 'system' && system)
}
