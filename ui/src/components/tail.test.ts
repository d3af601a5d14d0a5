import { expect, test } from 'vitest'
import type { Schemas } from '../api/client'
import { initialTail, mostKept, reduce } from './tail'

const log = (id: number) => ({ id: String(id) }) as Schemas['Log']
const arrived = (ids: number[], paused: boolean, lost = 0) => ({ kind: 'arrived', logs: ids.map(log), lost, perSecond: 1, paused }) as const
const ids = (logs: readonly Schemas['Log'][]) => logs.map((l) => Number(l.id))

test('new records stand first', () => {
  const s = reduce(reduce(initialTail, arrived([1, 2], false)), arrived([3, 4], false))
  expect(ids(s.logs)).toEqual([4, 3, 2, 1])
})

test('paused, they wait in order until resumed', () => {
  let s = reduce(initialTail, arrived([1], false))
  s = reduce(reduce(s, arrived([2, 3], true)), arrived([4], true))
  expect(ids(s.logs)).toEqual([1])
  expect(s.held).toBe(3)
  s = reduce(s, { kind: 'resume' })
  expect(ids(s.logs)).toEqual([4, 3, 2, 1])
  expect(s.held).toBe(0)
})

test('only the newest are kept, and what the server skipped adds up', () => {
  const many = Array.from({ length: mostKept + 5 }, (_, i) => i)
  let s = reduce(initialTail, arrived(many, false, 2))
  expect(s.logs).toHaveLength(mostKept)
  expect(s.logs[0]!.id).toBe(String(mostKept + 4))
  s = reduce(s, arrived([9], false, 3))
  expect(s.lost).toBe(5)
})
