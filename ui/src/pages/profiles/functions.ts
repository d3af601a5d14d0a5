// A profile by function: sums, and for one of them who calls it and what it
// calls.

import { build, type Kind, type Tree } from './tree'

export interface Sum {
  name: string
  kind: Kind
  file: string
  self: number
  /** With all that it calls; recursion counts once. */
  total: number
  baseSelf: number
  baseTotal: number
}

/** What each function takes, in no order. One that is inlined here and called there is one function. */
export function sums(t: Tree): Sum[] {
  const slot = slots(t)
  const out: Sum[] = []
  // Up to which node a function's own subtree goes.
  const until: number[] = []
  for (let i = 0; i < t.count; i++) {
    const name = t.name[i]!
    if (name < 0) continue
    const k = slot[name]!
    const s = (out[k] ??= { name: t.names[name]!, kind: t.kinds[name]!, file: t.files[name] ?? '', self: 0, total: 0, baseSelf: 0, baseTotal: 0 })
    s.self += t.self[i]!
    s.baseSelf += t.baseSelf[i]!
    if (i < (until[k] ?? 0)) continue
    until[k] = t.end[i]!
    s.total += t.value[i]!
    s.baseTotal += t.base[i]!
  }
  return out.filter(Boolean)
}

/** The function of each name: names that differ in place or kind only are one. */
function slots(t: Tree): Int32Array {
  const known = new Map<string, number>()
  return Int32Array.from(t.names, (n) => {
    let k = known.get(n)
    if (k === undefined) known.set(n, (k = known.size))
    return k
  })
}

/** Nodes of a function that it does not call itself. */
function outermost(t: Tree, fn: string): number[] {
  const out: number[] = []
  let until = 0
  for (let i = 0; i < t.count; i++) {
    if (i < until || t.names[t.name[i]!] !== fn) continue
    until = t.end[i]!
    out.push(i)
  }
  return out
}

/** Trees are merged here: a child is found by its caller and its name. */
class Merge {
  readonly name: number[] = []
  readonly parent: number[] = []
  readonly value: number[] = []
  readonly base: number[] = []
  private readonly known = new Map<number, number>()
  constructor(private readonly t: Tree) {}

  add(parent: number, name: number, value: number, base: number): number {
    const key = (parent + 1) * (this.t.names.length + 1) + name
    let i = this.known.get(key)
    if (i === undefined) {
      i = this.name.length
      this.known.set(key, i)
      this.name.push(name)
      this.parent.push(parent)
      this.value.push(0)
      this.base.push(0)
    }
    this.value[i]! += value
    this.base[i]! += base
    return i
  }

  tree(): Tree | undefined {
    if (this.name.length === 0) return undefined
    return build({ ...this, base: this.t.compared ? this.base : undefined }, this.t, this.t.total, this.t.baseTotal)
  }
}

/** All that a function calls, wherever it was called from; undefined when it is not there. */
export function callees(t: Tree, fn: string): Tree | undefined {
  const m = new Merge(t)
  const placed = new Int32Array(t.count)
  const roots = outermost(t, fn)
  // A function may have names that differ in place or kind: the first stands for all.
  const own = roots.length > 0 ? t.name[roots[0]!]! : -1
  for (const r of roots) {
    placed[r] = m.add(-1, own, t.value[r]!, t.base[r]!)
    for (let i = r + 1; i < t.end[r]!; i++) placed[i] = m.add(placed[t.parent[i]!]!, t.name[i]!, t.value[i]!, t.base[i]!)
  }
  return m.tree()
}

/** Who calls a function, and who calls these, up to the first; undefined when it is not there. */
export function callers(t: Tree, fn: string): Tree | undefined {
  const m = new Merge(t)
  const roots = outermost(t, fn)
  const own = roots.length > 0 ? t.name[roots[0]!]! : -1
  for (const r of roots) {
    let at = m.add(-1, own, t.value[r]!, t.base[r]!)
    for (let p = t.parent[r]!; p >= 0 && t.name[p]! >= 0; p = t.parent[p]!) at = m.add(at, t.name[p]!, t.value[r]!, t.base[r]!)
  }
  return m.tree()
}
