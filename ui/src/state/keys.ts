// The keyboard. Components announce what they answer to while they are shown;
// the newest announcement of a key wins, so that a panel above a list is asked
// before the list.

import { useEffect, useRef } from 'react'

export type Bindings = Record<string, (e: KeyboardEvent) => void | boolean>

const layers: { current: Bindings }[] = []

/** Milliseconds within which the second key of `g t` must follow. */
const chordTime = 1200
let chord: { key: string; at: number } | undefined

function typingIn(e: KeyboardEvent): boolean {
  const target = e.composedPath()[0]
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type !== 'checkbox'))
  )
}

/** The name of a key press: `mod+k`, `?`, `Escape`, `shift+Enter`. */
export function keyName(e: Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey' | 'shiftKey'>): string {
  const mod = e.ctrlKey || e.metaKey ? 'mod+' : ''
  const alt = e.altKey ? 'alt+' : ''
  // The shift of a printed character is in the character itself.
  const shift = e.shiftKey && e.key.length > 1 ? 'shift+' : ''
  return mod + alt + shift + (mod ? e.key.toLowerCase() : e.key)
}

function run(name: string, e: KeyboardEvent): boolean {
  for (let i = layers.length - 1; i >= 0; i--) {
    const f = layers[i]!.current[name]
    // A handler that answers false passes the key on.
    if (f && f(e) !== false) {
      e.preventDefault()
      return true
    }
  }
  return false
}

function onKeyDown(e: KeyboardEvent): void {
  if (e.defaultPrevented || e.isComposing) return
  const name = keyName(e)
  if (!name.startsWith('mod+') && typingIn(e)) return
  const first = chord
  chord = undefined
  if (first && Date.now() - first.at < chordTime && run(`${first.key} ${name}`, e)) return
  if (run(name, e)) return
  if (layers.some((l) => Object.keys(l.current).some((k) => k.startsWith(`${name} `)))) chord = { key: name, at: Date.now() }
}

/** Answers to keys as long as the component is shown. */
export function useKeys(bindings: Bindings, enabled = true): void {
  const latest = useRef(bindings)
  useEffect(() => {
    latest.current = bindings
  })
  useEffect(() => {
    if (!enabled) return
    if (layers.length === 0) window.addEventListener('keydown', onKeyDown)
    layers.push(latest)
    return () => {
      layers.splice(layers.indexOf(latest), 1)
      if (layers.length === 0) window.removeEventListener('keydown', onKeyDown)
    }
  }, [enabled])
}

/** How the command key is called on this keyboard. */
export const modName = /Mac|iP(?:hone|ad)/.test(globalThis.navigator?.userAgent ?? '') ? '⌘' : 'Ctrl'
