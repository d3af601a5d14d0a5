import { expect, test } from 'vitest'
import { answer, treeOf } from './stacks'
import { byId, fileOf, fromAnswer, hit, idOf, kindOf, nameOf, path, type Tree, walk } from './tree'

const shape = (t: Tree) => Array.from({ length: t.count }, (_, i) => `${'  '.repeat(t.depth[i]!)}${nameOf(t, i) || '*'} ${t.value[i]} ${t.self[i]}`)

test('the heaviest child stands first, ties by name, self is what no child took', () => {
  const t = treeOf('main;b;x 1', 'main;c 7', 'main;b 2', 'idle 3', 'main;a;y 3')
  expect(shape(t)).toEqual(['* 16 0', '  main 13 0', '    c 7 7', '    a 3 0', '      y 3 3', '    b 3 2', '      x 1 1', '  idle 3 3'])
  expect([...t.end]).toEqual([8, 7, 3, 5, 5, 7, 7, 8])
  expect(t.rows.map((r) => [...r])).toEqual([[0], [1, 7], [2, 3, 5], [4, 6]])
  expect(kindOf(t, 1)).toBe('go')
  expect(fileOf(t, 1)).toBe('main.go:1')
})

test('frames stand side by side below their caller', () => {
  const t = treeOf('main;b;x 1', 'main;c 7', 'main;b 2', 'idle 3', 'main;a;y 3')
  for (let i = 1; i < t.count; i++) {
    const p = t.parent[i]!
    expect(t.x[i]).toBeGreaterThanOrEqual(t.x[p]! - 1e-12)
    expect(t.x[i]! + t.width[i]!).toBeLessThanOrEqual(t.x[p]! + t.width[p]! + 1e-12)
  }
  for (const row of t.rows) row.forEach((i, k) => k > 0 && expect(t.x[i]).toBeGreaterThanOrEqual(t.x[row[k - 1]!]! + t.width[row[k - 1]!]! - 1e-12))
  expect(hit(t, 1, 0)).toBe(1)
  expect(hit(t, 1, 0.99)).toBe(7)
  expect(hit(t, 2, 0.99)).toBe(-1)
  expect(hit(t, 9, 0.5)).toBe(-1)
})

test('with two sides a frame is as wide as its mean share, and what is gone has a place', () => {
  const t = treeOf('kept 10 10', 'gone 0 30', 'new 10 0')
  expect(t.compared).toBe(true)
  expect([t.total, t.baseTotal]).toEqual([20, 40])
  const of = (name: string) => Array.from({ length: t.count }, (_, i) => i).find((i) => nameOf(t, i) === name)!
  expect(t.width[of('kept')]).toBeCloseTo((0.5 + 0.25) / 2)
  expect(t.width[of('gone')]).toBeCloseTo(0.75 / 2)
  expect(t.width[of('new')]).toBeCloseTo(0.5 / 2)
  expect(t.baseSelf[of('gone')]).toBe(30)
})

test('an empty side, an empty profile and rounded values do no harm', () => {
  expect(fromAnswer(answer([])).count).toBe(1)
  const t = treeOf('a;b 5 0')
  expect([t.width[1], t.width[2]]).toEqual([1, 1])
  const rounded = answer(['a;b 5', 'a;c 5'])
  rounded.nodes.value[0] = 9
  expect(fromAnswer(rounded).self[1]).toBe(0)
})

test('states of moments are averaged on each side by itself', () => {
  const t = fromAnswer(answer(['a 30 100', 'b 10 0'], { profiles: 10, base_profiles: 50 }), true)
  expect([t.total, t.baseTotal]).toEqual([4, 2])
  expect([t.value[1], t.base[1], t.self[1]]).toEqual([3, 2, 3])
})

test('a value below zero has no width', () => {
  const t = treeOf('a 10', 'b -4')
  expect([...t.width].every((w) => w >= 0 && w <= 2)).toBe(true)
})

test('stacks deeper than the engine can recurse', () => {
  const n = 20_000
  const names = Array.from({ length: 50 }, (_, i) => `f${i}`)
  const t = fromAnswer({
    unit: 'count', profiles: 1, base_profiles: 0, total: 1, base_total: 0, truncated: false, names, kinds: names.map(() => 'go'), files: names.map(() => ''),
    nodes: { name: Array.from({ length: n }, (_, i) => i % 50), parent: Array.from({ length: n }, (_, i) => i - 1), self: Array.from({ length: n }, (_, i) => Number(i === n - 1)), value: Array.from({ length: n }, () => 1) },
  })
  expect(t.rows.length).toBe(n + 1)
  expect(t.end[0]).toBe(n + 1)
})

test('an id finds the same frame in another profile', () => {
  const a = treeOf('main;b;x 1', 'main;c 7', 'main;c;x 2')
  const b = treeOf('other;x 9', 'main;c;x 2', 'main;b;x 90')
  for (let i = 0; i < a.count; i++) {
    expect(byId(a, idOf(a, i))).toBe(i)
    const there = byId(b, idOf(a, i))
    expect(path(b, there).map((k) => nameOf(b, k))).toEqual(path(a, i).map((k) => nameOf(a, k)))
  }
  expect(byId(a, 'nonsense')).toBe(-1)
  expect(byId(a, undefined)).toBe(-1)
  expect(byId(treeOf('x 1'), idOf(a, 3))).toBe(-1)
})

test('20,000 frames have 20,000 ids', () => {
  const t = treeOf(...Array.from({ length: 20_000 }, (_, i) => `a${i % 100};b${i % 1000};c${i} 1`))
  expect(new Set(Array.from({ length: t.count }, (_, i) => idOf(t, i))).size).toBe(t.count)
})

test('keys lead to caller, callee and neighbour, and not out of the zoom', () => {
  const t = treeOf('main;a;x 5', 'main;b;y 3', 'idle;z 1')
  const at = (...names: string[]) => Array.from({ length: t.count }, (_, i) => i).find((i) => path(t, i).slice(1).map((k) => nameOf(t, k)).join() === names.join())!
  expect(walk(t, 0, 'down')).toBe(at('main'))
  expect(walk(t, 0, 'up')).toBe(0)
  expect(walk(t, at('main', 'a'), 'right')).toBe(at('main', 'b'))
  expect(walk(t, at('main', 'a'), 'left')).toBe(at('main', 'a'))
  expect(walk(t, at('main', 'b'), 'right')).toBe(at('idle', 'z'))
  expect(walk(t, at('main', 'b'), 'right', at('main'))).toBe(at('main', 'b'))
  expect(walk(t, at('main', 'b', 'y'), 'down')).toBe(at('main', 'b', 'y'))
  expect(walk(t, at('main', 'b', 'y'), 'up')).toBe(at('main', 'b'))
})
