import { expect, test } from 'vitest'
import { layout, nodeHeight, nodeWidth } from './layout'

const overlap = (l: ReturnType<typeof layout>) =>
  l.nodes.some((a, i) => l.nodes.slice(i + 1).some((b) => Math.abs(a.x - b.x) < nodeWidth && Math.abs(a.y - b.y) < nodeHeight))

test('calls go from left to right', () => {
  const l = layout(['db', 'gw', 'order', 'pay'], [
    { from: 'gw', to: 'order' }, { from: 'order', to: 'pay' }, { from: 'order', to: 'db' }, { from: 'pay', to: 'db' },
  ])
  const x = Object.fromEntries(l.nodes.map((n) => [n.name, n.x]))
  expect(x.gw).toBeLessThan(x.order!)
  expect(x.order).toBeLessThan(x.pay!)
  expect(x.pay).toBeLessThan(x.db!)
  // The long edge has a bend in the layer it passes.
  expect(l.routes.find((r) => r.from === 'order' && r.to === 'db')!.points).toHaveLength(3)
  expect(overlap(l)).toBe(false)
})

test('a chain is straight', () => {
  const l = layout(['a', 'b', 'c'], [{ from: 'a', to: 'b' }, { from: 'b', to: 'c' }])
  expect(new Set(l.nodes.map((n) => n.y)).size).toBe(1)
})

test('cycles, self calls and unknown names do no harm', () => {
  const l = layout(['a', 'b', 'c'], [
    { from: 'a', to: 'b' }, { from: 'b', to: 'c' }, { from: 'c', to: 'a' }, { from: 'a', to: 'a' }, { from: 'a', to: 'gone' },
  ])
  expect(l.routes.map((r) => `${r.from}>${r.to}`).sort()).toEqual(['a>b', 'b>c', 'c>a'])
  expect(overlap(l)).toBe(false)
})

test('nothing overlaps in a dense graph, and the same input gives the same picture', () => {
  const names = Array.from({ length: 40 }, (_, i) => `s${i}`)
  const edges = names.flatMap((from, i) => [1, 3, 7].map((k) => ({ from, to: names[(i * k + k) % 40]! })))
  const l = layout(names, edges)
  expect(overlap(l)).toBe(false)
  expect(layout([...names].reverse(), edges)).toEqual(l)
})

test('no crossing where none is needed', () => {
  const l = layout(['a', 'b', 'x', 'y'], [{ from: 'a', to: 'y' }, { from: 'b', to: 'x' }])
  const y = Object.fromEntries(l.nodes.map((n) => [n.name, n.y]))
  expect(Math.sign(y.a! - y.b!)).toBe(Math.sign(y.y! - y.x!))
})

test('an empty graph', () => expect(layout([], [])).toEqual({ down: false, nodes: [], routes: [], width: 0, height: 0 }))

test('downwards, calls go from top to bottom and nothing overlaps', () => {
  const l = layout(['a', 'b', 'c', 'd'], [{ from: 'a', to: 'b' }, { from: 'a', to: 'c' }, { from: 'b', to: 'd' }, { from: 'a', to: 'd' }], { down: true })
  const y = Object.fromEntries(l.nodes.map((n) => [n.name, n.y]))
  expect(y.a).toBeLessThan(y.b!)
  expect(y.b).toBe(y.c)
  expect(y.b).toBeLessThan(y.d!)
  expect(overlap(l)).toBe(false)
  for (const n of l.nodes) {
    expect(n.x + nodeWidth / 2).toBeLessThanOrEqual(l.width)
    expect(n.y + nodeHeight / 2).toBeLessThanOrEqual(l.height)
  }
})
