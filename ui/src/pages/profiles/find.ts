// Words to find among the functions of a profile, and what they stand for.

import type { Tree } from './tree'

export interface Found {
  /** Whether the function of each node matches. */
  hits: Uint8Array
  /** Functions that match. */
  functions: number
  /** Of matching functions and all that they call; recursion counts once. */
  value: number
  base: number
  /** Matching nodes that no matching node calls, heaviest first. */
  nodes: number[]
}

/** A test for names: words as they are, or /an expression/. Undefined where nothing is asked; 'wrong' where it cannot be read. */
export function needle(text: string): ((name: string) => boolean) | 'wrong' | undefined {
  const words = text.trim()
  if (words === '') return undefined
  const pattern = /^\/(.+)\/$/.exec(words)?.[1]
  if (pattern === undefined) {
    const lower = words.toLowerCase()
    return (name) => name.toLowerCase().includes(lower)
  }
  try {
    const re = new RegExp(pattern, 'i')
    return (name) => re.test(name)
  } catch {
    return 'wrong'
  }
}

export function find(t: Tree, test: (name: string) => boolean): Found {
  const names = t.names.map(test)
  const out: Found = { hits: new Uint8Array(t.count), functions: 0, value: 0, base: 0, nodes: [] }
  const seen = new Set<string>()
  let until = 0
  for (let i = 0; i < t.count; i++) {
    if (!names[t.name[i]!]) continue
    out.hits[i] = 1
    seen.add(t.names[t.name[i]!]!)
    if (i < until) continue
    until = t.end[i]!
    out.value += t.value[i]!
    out.base += t.base[i]!
    out.nodes.push(i)
  }
  out.functions = seen.size
  out.nodes.sort((a, b) => t.width[b]! - t.width[a]!)
  return out
}
