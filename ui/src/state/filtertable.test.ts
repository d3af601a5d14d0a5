// The grammar of the server, proved on the table that its own tests write
// (internal/query/filtertable_test.go).

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type Condition, FilterError, formatCondition, parseFilter, type Signal } from './filter'
import { canonical } from './values'

type Row = [field: string, op: Condition['op'], value: string]

interface Table {
  read: { signal: Signal; in: string; times?: number; want?: Row[]; pos?: number; pattern?: boolean }[]
  write: { signal: Signal; cond: Row; text: string }[]
}

const table = JSON.parse(readFileSync(new URL('../../../internal/query/testdata/filters.json', import.meta.url), 'utf8')) as Table

function read(text: string, signal: Signal): { want: Row[] } | { pos: number } {
  try {
    return { want: parseFilter(text, signal).map((c) => [c.field, c.op, canonical(c, signal)]) }
  } catch (e) {
    if (!(e instanceof FilterError)) throw e
    return { pos: e.position }
  }
}

test('reads what the server reads, and refuses the rest at the same place', () => {
  expect(table.read.length).toBeGreaterThan(1000)
  const wrong = []
  for (const c of table.read) {
    const text = c.in.repeat(c.times ?? 1)
    const got = read(text, c.signal)
    if (c.pattern) {
      // The browser does not judge patterns: it may only complain of what comes after.
      if ('pos' in got && got.pos <= c.pos!) wrong.push({ ...c, got })
      continue
    }
    const want = c.pos ? { pos: c.pos } : { want: (c.want ?? []).map(([field, op, value]) => [field, op, c.times && c.want!.length === 1 ? value.repeat(c.times) : value]) }
    if (JSON.stringify(got) !== JSON.stringify(want)) wrong.push({ ...c, got })
  }
  expect(wrong).toEqual([])
})

test('writes conditions as the server does, which reads them back to the same', () => {
  expect(table.write.length).toBeGreaterThan(500)
  const wrong = []
  for (const { signal, cond, text } of table.write) {
    const [field, op, value] = cond
    const condition = { field, op, value }
    const wrote = formatCondition(condition)
    // The server writes durations in the largest whole unit; both read alike.
    const sameText = field === 'duration' || wrote === text
    const want = JSON.stringify([[field, op, canonical(condition, signal)]])
    const back = read(wrote, signal)
    const backOfServer = read(text, signal)
    if (!sameText || !('want' in back) || !('want' in backOfServer) || JSON.stringify(back.want) !== want || JSON.stringify(backOfServer.want) !== want) wrong.push({ cond, text, wrote, back })
  }
  expect(wrong).toEqual([])
})
