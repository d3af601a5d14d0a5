// Profiles for tests, written as folded stacks.

import type { FlameAnswer } from '../../api/profiles'
import { fromAnswer, type Tree } from './tree'

/** Stacks like "main;work 5" or, with two sides, "main;work 5 3". */
export function answer(stacks: string[], more: Partial<FlameAnswer> = {}): FlameAnswer {
  const names: string[] = []
  const indexes = new Map<string, number>()
  const nodes = { name: [] as number[], parent: [] as number[], self: [] as number[], value: [] as number[], base_value: [] as number[] }
  const known = new Map<string, number>()
  let [total, baseTotal, compared] = [0, 0, false]
  for (const line of stacks) {
    const [stack = '', value = '0', base] = line.split(' ')
    if (base !== undefined) compared = true
    const [v, b] = [Number(value), Number(base ?? 0)]
    total += v
    baseTotal += b
    let parent = -1
    let key = ''
    for (const frame of stack.split(';')) {
      key += `;${frame}`
      let i = known.get(key)
      if (i === undefined) {
        known.set(key, (i = nodes.name.length))
        const name = indexes.get(frame) ?? names.push(frame) - 1
        indexes.set(frame, name)
        nodes.name.push(name)
        nodes.parent.push(parent)
        for (const list of [nodes.self, nodes.value, nodes.base_value]) list.push(0)
      }
      nodes.value[i]! += v
      nodes.base_value[i]! += b
      parent = i
    }
    nodes.self[parent]! += v
  }
  const { base_value, ...own } = nodes
  return { unit: 'nanoseconds', profiles: 1, base_profiles: compared ? 1 : 0, total, base_total: compared ? baseTotal : 0, truncated: false, names, kinds: names.map(() => 'go'), files: names.map((n) => `${n}.go:1`), nodes: compared ? { ...own, base_value } : own, ...more }
}

export const treeOf = (...stacks: string[]): Tree => fromAnswer(answer(stacks))
