import { expect, test } from 'vitest'
import { parseFilter } from '../../state/filter'
import { asksForKernel, hideKernel } from './kernel'

test('a filter that asks for certain records is left alone', () => {
  for (const q of ['scope.name = guanlan.kernel.audit', 'event_name =~ "^kernel"', 'trace_id = 4bf92f3577b34da6a3ce929d0e0e4736', 'kernel.audit.rule = x', 'log.kernel.oom.rss > 1'])
    expect(asksForKernel(parseFilter(q)), q).toBe(true)
  for (const q of ['', 'service.name = order', 'severity >= warn', '"kernel"']) expect(asksForKernel(parseFilter(q)), q).toBe(false)
})

test('what leaves the kernel out can be read', () => {
  expect(parseFilter(hideKernel(''))).toEqual([{ field: 'scope.name', op: '!~', value: '^guanlan\\.kernel\\.' }])
  expect(parseFilter(hideKernel('severity >= warn'))).toHaveLength(2)
})
