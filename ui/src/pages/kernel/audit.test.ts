import { expect, test } from 'vitest'
import type { Schemas } from '../../api/client'
import { parseFilter } from '../../state/filter'
import { ancestors, attackAddress, fromLog, moreOf, recordFilter, runsOf, toggleRule } from './audit'

const attribute = (key: string, value: unknown) => ({ key, type: 'string' as const, value })
const log = (attributes: Schemas['Log']['attributes']): Schemas['Log'] => ({
  id: 'x', time: '2026-01-02T15:04:05Z', observed: '', severity: 'warn', severityText: '', body: 'b', service: 'shop', traceId: '', spanId: '', eventName: 'kernel.audit.exec', scope: 'guanlan.kernel.audit',
  attributes, resource: [attribute('host.name', 'node-a'), attribute('container.id', 'abc')],
})

test('a record of the tail reads as an event of the list', () => {
  const e = fromLog(log([
    attribute('process.pid', 42), attribute('kernel.audit.severity', 'warning'), attribute('kernel.audit.rule', 'shell'), attribute('kernel.audit.ancestors', 'nginx(41) < we(ir)d(1)'),
    attribute('kernel.audit.findings', '[{"rule":"a","title":"A","severity":"notice","technique":""},{"rule":"shell","title":"Shell","severity":"warning","technique":"T1059.004"}]'),
  ]))
  expect(e).toMatchObject({ kind: 'exec', severity: 'warning', pid: 42, host: 'node-a', container: 'abc', ancestors: [{ name: 'nginx', pid: 41 }, { name: 'we(ir)d', pid: 1 }] })
  expect(e.findings.map((f) => f.rule)).toEqual(['shell', 'a'])
  expect(fromLog(log([attribute('kernel.audit.rule', 'r'), attribute('kernel.audit.findings', 'broken')])).findings).toEqual([{ rule: 'r', title: 'r', severity: 'info', technique: '' }])
  expect(fromLog(log([]))).toMatchObject({ severity: 'none', findings: [], ancestors: [] })
})

test('parents without a number keep their name', () => {
  expect(ancestors('')).toEqual([])
  expect(ancestors('a < b(2)')).toEqual([{ name: 'a', pid: 0 }, { name: 'b', pid: 2 }])
})

test('techniques have an address, other words none', () => {
  expect(attackAddress('T1059.004')).toBe('https://attack.mitre.org/techniques/T1059/004/')
  expect(attackAddress('T1611')).toBe('https://attack.mitre.org/techniques/T1611/')
  expect(attackAddress('javascript:x')).toBeUndefined()
})

test('the records behind the page can be asked for', () => {
  expect(parseFilter(recordFilter('service.name = a', 'warning'), 'logs')).toEqual([
    { field: 'service.name', op: '=', value: 'a' },
    { field: 'event_name', op: '=~', value: '^kernel\\.audit\\.' },
    { field: 'log.kernel.audit.severity', op: '=~', value: '^(warning|critical)$' },
  ])
  expect(parseFilter(recordFilter('', 'none'))).toHaveLength(1)
})

test('a rule is taken in and out of the filter', () => {
  const once = toggleRule(parseFilter('service.name = a'), 'x')
  expect(once).toHaveLength(2)
  expect(toggleRule(once, 'y').filter((c) => c.field === 'log.kernel.audit.findings').map((c) => c.value)).toEqual(['"rule":"y"'])
  expect(toggleRule(once, 'x')).toHaveLength(1)
})

test('more of the same', () => {
  const e = fromLog(log([attribute('process.pid', 42)]))
  expect(moreOf(e, 'process')).toBe('host.name = node-a and process.pid = 42')
  expect(moreOf(e, 'rule')).toBeUndefined()
})

test('repeats are one row, with how many and since when', () => {
  const event = (time: string, change: Partial<Schemas['AuditEvent']> = {}) => ({ ...fromLog(log([attribute('process.pid', 42)])), id: time, time, ...change })
  const events = [event('5'), event('4', { pid: 43 }), event('3', { commandLine: 'id' }), event('2'), event('1')]
  expect(runsOf(events, true).map((r) => [r.event.id, r.count, r.first])).toEqual([['5', 2, '4'], ['3', 1, '3'], ['2', 2, '1']])
  expect(runsOf(events, false).map((r) => r.event.id)).toEqual(['5', '4', '3', '2', '1'])
  const loads = [event('2', { kind: 'bpf', detail: 'on_exec', result: '8' }), event('1', { kind: 'bpf', detail: '', result: '9' })]
  expect(runsOf(loads, true)).toHaveLength(1)
  const lost = [event('2', { kind: 'lost', lost: 3 }), event('1', { kind: 'lost', lost: 5 })]
  expect(runsOf(lost, true)).toHaveLength(2)
})
