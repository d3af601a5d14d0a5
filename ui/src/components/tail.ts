// Following new records. They come as server-sent events, faster than a screen
// can be drawn; so they are gathered and shown a few times a second, and only
// the newest are kept.

import { useEffect, useReducer, useRef } from 'react'
import { address, type Schemas } from '../api/client'

type Log = Schemas['Log']

/** Records kept in the browser while following. */
export const mostKept = 2000
/** Milliseconds between drawings. */
const drawEvery = 250
/** The rate is that of the last seconds. */
const rateSeconds = 5

export interface Tail {
  /** Newest first. */
  logs: readonly Log[]
  /** Arrived while paused, not shown yet. */
  held: number
  /** Skipped by the server because this browser was slow. */
  lost: number
  perSecond: number
  broken: boolean
}

type Action = { kind: 'reset' } | { kind: 'arrived'; logs: Log[]; lost: number; perSecond: number; paused: boolean } | { kind: 'resume' } | { kind: 'broken'; broken: boolean }

interface State extends Tail {
  waiting: readonly Log[]
}

const empty: State = { logs: [], waiting: [], held: 0, lost: 0, perSecond: 0, broken: false }

export function reduce(s: State, a: Action): State {
  switch (a.kind) {
    case 'reset': return empty
    case 'broken': return { ...s, broken: a.broken }
    case 'resume': return { ...s, logs: [...s.waiting, ...s.logs].slice(0, mostKept), waiting: [], held: 0 }
    case 'arrived': {
      const newest = [...a.logs].reverse()
      const common = { ...s, lost: s.lost + a.lost, perSecond: a.perSecond, broken: false }
      if (a.paused) return { ...common, waiting: [...newest, ...s.waiting].slice(0, mostKept), held: s.held + newest.length }
      return { ...common, logs: [...newest, ...s.waiting, ...s.logs].slice(0, mostKept), waiting: [], held: 0 }
    }
  }
}

export const initialTail = empty

/** Follows records that meet the filter, while on. */
export function useTail(filter: string, on: boolean, paused: boolean): Tail & { resume: () => void } {
  const [state, dispatch] = useReducer(reduce, empty)
  const isPaused = useRef(paused)
  useEffect(() => {
    isPaused.current = paused
    if (!paused) dispatch({ kind: 'resume' })
  }, [paused])
  useEffect(() => {
    dispatch({ kind: 'reset' })
    if (!on) return
    // EventSource opens the connection again by itself.
    const source = new EventSource(address('/guanlan/v1/logs/tail', { query: { filter: filter || undefined } }))
    let gathered: Log[] = []
    let lost = 0
    const recent: number[] = []
    source.addEventListener('log', (e) => {
      const event = JSON.parse((e as MessageEvent<string>).data) as Schemas['TailEvent']
      gathered.push(event.log)
      lost += event.lost
    })
    source.addEventListener('error', () => dispatch({ kind: 'broken', broken: true }))
    source.addEventListener('open', () => dispatch({ kind: 'broken', broken: false }))
    let last = performance.now()
    const timer = setInterval(() => {
      const now = performance.now()
      recent.push((gathered.length * 1000) / Math.max(1, now - last))
      last = now
      if (recent.length > (rateSeconds * 1000) / drawEvery) recent.shift()
      const perSecond = recent.reduce((a, b) => a + b, 0) / recent.length
      dispatch({ kind: 'arrived', logs: gathered, lost, perSecond, paused: isPaused.current })
      gathered = []
      lost = 0
    }, drawEvery)
    return () => {
      clearInterval(timer)
      source.close()
    }
  }, [filter, on])
  return { ...state, resume: () => dispatch({ kind: 'resume' }) }
}
