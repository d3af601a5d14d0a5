import { expect, test } from 'vitest'
import { find, needle } from './find'
import { callees, callers, sums } from './functions'
import { treeOf } from './stacks'
import { nameOf, type Tree } from './tree'

const shape = (t: Tree | undefined) => t && Array.from({ length: t.count }, (_, i) => `${'  '.repeat(t.depth[i]!)}${nameOf(t, i)} ${t.value[i]}`)

test('functions: self adds up, recursion counts once', () => {
  const t = treeOf('main;f;f;g 4', 'main;f 1', 'main;g;f 2', 'idle 3')
  const of = new Map(sums(t).map((s) => [s.name, s]))
  expect([...of.keys()].sort()).toEqual(['f', 'g', 'idle', 'main'])
  expect(of.get('f')).toMatchObject({ self: 3, total: 7 })
  expect(of.get('g')).toMatchObject({ self: 4, total: 6 })
  expect(of.get('main')).toMatchObject({ self: 0, total: 7 })
  expect([...of.values()].reduce((n, s) => n + s.self, 0)).toBe(t.total)
})

test('functions of two sides', () => {
  const t = treeOf('main;f 4 1', 'gone;f 0 5')
  expect(sums(t).find((s) => s.name === 'f')).toMatchObject({ self: 4, total: 4, baseSelf: 6, baseTotal: 6 })
})

test('callees are merged from wherever the function was called', () => {
  const t = treeOf('a;f;x 1', 'b;f;x;y 2', 'b;f 4', 'c 8')
  expect(shape(callees(t, 'f'))).toEqual(['f 7', '  x 3', '    y 2'])
  expect(callees(t, 'none')).toBeUndefined()
  expect(callees(t, 'f')!.total).toBe(15)
})

test('callers are merged from the function upward', () => {
  const t = treeOf('main;a;f 1', 'main;b;f;x 2', 'other;b;f 4')
  expect(shape(callers(t, 'f'))).toEqual(['f 7', '  b 6', '    other 4', '    main 2', '  a 1', '    main 1'])
})

test('recursion: the outermost call counts', () => {
  const t = treeOf('main;f;g;f;h 5')
  expect(shape(callers(t, 'f'))).toEqual(['f 5', '  main 5'])
  expect(shape(callees(t, 'f'))).toEqual(['f 5', '  g 5', '    f 5', '      h 5'])
})

test('words and expressions', () => {
  const plain = needle('Part).open')
  expect(plain).toBeTypeOf('function')
  expect((plain as (s: string) => boolean)('store.(*part).Open')).toBe(true)
  expect((needle('/^run.*main$/') as (s: string) => boolean)('runtime.main')).toBe(true)
  expect((needle('/^run.*main$/') as (s: string) => boolean)('runtime.main2')).toBe(false)
  expect(needle('/(/')).toBe('wrong')
  expect(needle('  ')).toBeUndefined()
})

test('what is found counts once, with all that it calls', () => {
  const t = treeOf('main;json.Marshal;json.encode;memmove 4 2', 'main;other 6 6', 'json.encode 10 0')
  const found = find(t, needle('json') as (s: string) => boolean)
  expect([found.value, found.base, found.functions]).toEqual([14, 2, 2])
  expect(found.nodes.map((i) => nameOf(t, i))).toEqual(['json.encode', 'json.Marshal'])
  expect([...found.hits].reduce((n, h) => n + h, 0)).toBe(3)
  expect(find(t, () => false)).toMatchObject({ value: 0, functions: 0, nodes: [] })
})
