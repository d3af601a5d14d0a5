// The kernel's records (connections, audit) are many and are told on pages of
// their own. Among all logs they are left out unless somebody asks for them.

import { type Condition, formatCondition } from '../../state/filter'

/** Leaves the kernel's records out. */
export const withoutKernel: Condition = { field: 'scope.name', op: '!~', value: '^guanlan\\.kernel\\.' }

/** Fields by which people ask for certain records, whoever sent them. */
const about = /^(?:scope\.name|event_name|trace_id|span_id|(?:log\.)?kernel\..+)$/

/** Whether the filter itself says what of the kernel is wanted. */
export function asksForKernel(conditions: readonly Condition[]): boolean {
  return conditions.some((c) => about.test(c.field))
}

/** The filter with the kernel's records left out. */
export function hideKernel(filter: string): string {
  return [filter, formatCondition(withoutKernel)].filter(Boolean).join(' and ')
}
