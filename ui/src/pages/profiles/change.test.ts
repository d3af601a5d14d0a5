import { expect, test } from 'vitest'
import { en } from '../../state/texts/en'
import { change, level, steps } from './change'
import { packageOf, shortFile, shortName, valueFormat } from './labels'
import { mix } from './paint'
import { againstValue, apart, baseOf, swapped } from './versus'
import { changeText } from './words'

const text = (...of: Parameters<typeof change>) => changeText(en, change(...of))

test('twice the load with the same shares is no difference', () => {
  expect(change(20, 200, 10, 100)).toEqual({ kind: 'same', share: 0.1, baseShare: 0.1, ratio: 0 })
})

test('differences in words', () => {
  expect(text(112, 1000, 100, 1000)).toBe('+12%')
  expect(text(70, 1000, 100, 1000)).toBe('−30%')
  expect(text(140, 1000, 10, 1000)).toBe('×14')
  expect(text(5, 1000, 0, 1000)).toBe('new')
  expect(text(0, 1000, 5, 1000)).toBe('gone')
  expect(text(1004, 10_000, 1000, 10_000)).toBe('unchanged')
  expect(text(0, 0, 0, 0)).toBe('unchanged')
  expect(text(0, 0, 5, 10)).toBe('gone')
  expect(text(5, 10, 0, 0)).toBe('new')
})

test('colours: the more a share changed the further from the middle, on both sides alike', () => {
  const at = (value: number, base: number) => level(change(value, 1000, base, 1000))
  expect(at(100, 100)).toBe(0)
  expect([at(110, 100), at(150, 100), at(200, 100), at(300, 100), at(800, 100)]).toEqual([1, 2, 2, 4, 4])
  expect([at(100, 110), at(100, 150), at(100, 200), at(100, 300), at(100, 800)]).toEqual([-1, -2, -2, -4, -4])
  expect([at(1, 0), at(0, 1)]).toEqual([steps, -steps])
})

test('names', () => {
  expect(shortName('github.com/guanlan-io/guanlan/internal/store.(*Part).open')).toBe('store.(*Part).open')
  expect(shortName('runtime.mallocgc')).toBe('runtime.mallocgc')
  expect(shortName('net/http.(*conn).serve')).toBe('http.(*conn).serve')
  expect(shortName('example.com/a.Map[example.com/b/c.Key,go.shape.string]')).toBe('a.Map[c.Key,go.shape.string]')
  expect(shortName('do_syscall_64')).toBe('do_syscall_64')
  expect(shortName('/usr/lib/libc.so.6')).toBe('libc.so.6')
  expect(shortName('github.com/cespare/xxhash/v2.Sum64')).toBe('xxhash/v2.Sum64')
  expect(shortName('a/b.Register[go.shape.struct { x/api.Window; x/api.Paging; Body []uint8 }].func1')).toBe('b.Register[…].func1')
  expect(shortName('[vdso]')).toBe('[vdso]')
  expect(shortFile('/usr/lib/go/src/runtime/malloc.go:1358')).toBe('runtime/malloc.go:1358')
  expect(packageOf('github.com/a/b.v2/store.(*Part).open')).toBe('github.com/a/b.v2/store')
  expect(packageOf('runtime.mallocgc')).toBe('runtime')
  expect(packageOf('do_syscall_64')).toBe('do_syscall_64')
})

test('units', () => {
  const nbsp = '\u00a0'
  expect(valueFormat('nanoseconds')(1.5e9)).toBe(`1.5${nbsp}s`)
  expect(valueFormat('microseconds')(1.5e6)).toBe(`1.5${nbsp}s`)
  expect(valueFormat('bytes')(2048)).toBe(`2${nbsp}KiB`)
  expect(valueFormat('count')(1500)).toBe('1.5k')
})

const hour = { start: 1_700_003_600_000, end: 1_700_007_200_000 }

test('the other side', () => {
  expect(baseOf({}, hour)).toBeUndefined()
  expect(baseOf({ vs: 'before', q: 'a = 1' }, hour)).toEqual({ start: 1_700_000_000_000, end: 1_700_003_600_000, filter: 'a = 1' })
  expect(baseOf({ vs: '1d', q: 'a = 1', vsq: 'a = 2' }, hour)).toEqual({ start: hour.start - 86_400_000, end: hour.end - 86_400_000, filter: 'a = 2' })
  expect(baseOf({ vs: 'same', vsq: 'a = 2' }, hour)).toEqual({ ...hour, filter: 'a = 2' })
  expect(baseOf({ vs: '1700000000000-1700000001000' }, hour)).toEqual({ start: 1_700_000_000_000, end: 1_700_000_001_000, filter: '' })
  for (const vs of ['nonsense', '1700000001000-1700000000000', '0s', '-1d']) expect(baseOf({ vs }, hour), vs).toBeUndefined()
})

test('a version against the others', () => {
  const q = 'service.name = shop'
  expect(againstValue(q, 'service.version', '1', ['1', '2'])).toEqual({ vs: 'same', vsq: `${q} and service.version = 1`, q: `${q} and service.version = 2` })
  expect(againstValue(q, 'service.version', '1', ['1', '2', '3'])).toEqual({ vs: 'same', vsq: `${q} and service.version = 1`, q: `${q} and service.version != 1` })
  const own = `${q} and service.version = 3`
  expect(againstValue(own, 'service.version', '1', ['1', '2', '3'])).toEqual({ vs: 'same', vsq: `${q} and service.version = 1`, q: own })
})

test('sides are swapped, and swapped back', () => {
  const url = { vs: 'before', q: 'a = 1' }
  const once = swapped(url, hour)!
  expect(once).toEqual({ q: 'a = 1', vsq: undefined, from: '1700000000000', to: '1700003600000', vs: '1700003600000-1700007200000' })
  const versions = { vs: 'same', q: 'v = 2', vsq: 'v = 1' }
  expect(swapped({ ...versions, ...swapped(versions, hour) }, hour)).toEqual({ q: 'v = 2', vsq: 'v = 1' })
  expect(swapped({}, hour)).toBeUndefined()
  // A side without a filter says so: what is empty is left out of links.
  const all = swapped({ vs: 'same', vsq: 'v = 1' }, hour)!
  expect(all).toEqual({ q: 'v = 1', vsq: '*' })
  expect(baseOf({ vs: 'same', ...all }, hour)).toEqual({ ...hour, filter: '' })
  expect(swapped({ vs: 'same', ...all }, hour)).toEqual({ q: undefined, vsq: 'v = 1' })
})

test('what tells the sides apart', () => {
  expect(apart('a = 1 and v = 1', 'v = 2, a = 1')).toEqual(['v = 1', 'v = 2'])
  expect(apart('', 'a = 1')).toEqual(['', 'a = 1'])
})

test('colours between two, also where the build made them shorter', () => {
  expect(mix('#000000', '#ffffff', 0.5)).toBe('#808080')
  expect(mix('#d9701a', '#fff', 0)).toBe('#d9701a')
  expect(mix('#d9701a', '#fff', 1)).toBe('#ffffff')
})
