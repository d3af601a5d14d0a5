// Audit events as records tell them, and what can be asked about them.

import type { Schemas } from '../../api/client'
import type { AuditEvent, Severity } from '../../api/kernel'
import { type Condition, formatCondition, formatFilter, withCondition } from '../../state/filter'
import { attributeText } from '../../state/match'

type Log = Schemas['Log']

/** The worst last. */
export const auditSeverities = ['info', 'notice', 'warning', 'critical'] as const

export const isAuditSeverity = (s: string): s is (typeof auditSeverities)[number] => (auditSeverities as readonly string[]).includes(s)

/** Records that are audit events. */
export const auditRecords: Condition = { field: 'event_name', op: '=~', value: '^kernel\\.audit\\.' }

/** The filter of the records behind the page: what the server makes of the same question. */
export function recordFilter(filter: string, severity: Severity): string {
  const conditions: Condition[] = [auditRecords]
  const from = isAuditSeverity(severity) ? auditSeverities.indexOf(severity) : -1
  if (from >= 0) conditions.push({ field: 'log.kernel.audit.severity', op: '=~', value: `^(${auditSeverities.slice(from).join('|')})$` })
  return [filter, ...conditions.map(formatCondition)].filter(Boolean).join(' and ')
}

/** A record of the live tail as an event of the list. */
export function fromLog(l: Log): AuditEvent {
  const find = (key: string) => {
    const a = l.attributes.find((x) => x.key === key) ?? l.resource.find((x) => x.key === key)
    return a ? attributeText(a.value) : ''
  }
  const severity = find('kernel.audit.severity')
  return {
    id: l.id, time: l.time, kind: l.eventName.replace(/^kernel\.audit\./, ''),
    severity: isAuditSeverity(severity) ? severity : 'none', findings: findings(find('kernel.audit.findings'), find('kernel.audit.rule'), severity, find('kernel.audit.technique')),
    text: l.body, service: l.service, host: find('host.name'), pid: Number(find('process.pid')), parentPid: Number(find('process.parent_pid')),
    executable: find('process.executable.path'), commandLine: find('process.command_line'), user: find('user.id'),
    container: find('container.id'), containerName: find('container.name'), pod: find('k8s.pod.name') || find('k8s.pod.uid'), image: find('container.image.name'),
    path: find('file.path'), call: find('kernel.audit.call'), result: find('kernel.audit.result'), denied: find('kernel.audit.denied') === 'true',
    detail: find('kernel.audit.detail'), ancestors: ancestors(find('kernel.audit.ancestors')), lost: Number(find('kernel.audit.lost')),
  }
}

function findings(json: string, rule: string, severity: string, technique: string): AuditEvent['findings'] {
  const worst: AuditEvent['findings'] = rule ? [{ rule, title: rule, severity: isAuditSeverity(severity) ? severity : 'info', technique }] : []
  try {
    const all = JSON.parse(json) as AuditEvent['findings']
    const level = (f: AuditEvent['findings'][number]) => auditSeverities.indexOf(f.severity)
    return Array.isArray(all) && all.length > 0 ? [...all].sort((a, b) => level(b) - level(a)) : worst
  } catch {
    return worst
  }
}

/** Reads "bash(12) < sshd(3)". */
export function ancestors(text: string): AuditEvent['ancestors'] {
  return text
    .split(' < ')
    .map((part) => part.trim())
    .filter(Boolean)
    .map((part) => {
      const m = /^(.*)\((\d+)\)$/.exec(part)
      return m ? { name: m[1]!, pid: Number(m[2]) } : { name: part, pid: 0 }
    })
}

/** Events that differ in time, process and what the call returned only, one after the other, as one; who loads BPF programs loads many. */
export interface Run {
  event: AuditEvent
  /** How many there are, and when the oldest was. */
  count: number
  first: string
}

export function runsOf(events: readonly AuditEvent[], fold: boolean): Run[] {
  const out: Run[] = []
  let last = ''
  for (const e of events) {
    const same = [e.kind, e.severity, e.service, e.host, e.container, e.executable, e.commandLine, e.path, e.denied, e.kind === 'bpf' ? '' : e.detail, ...e.findings.map((f) => f.rule)].join('\0')
    const run = out.at(-1)
    if (fold && run && same === last && e.kind !== 'lost') {
      run.count++
      run.first = e.time
    } else out.push({ event: e, count: 1, first: e.time })
    last = same
  }
  return out
}

/** Where a technique is described. */
export function attackAddress(id: string): string | undefined {
  return /^T\d{4}(\.\d{3})?$/.test(id) ? `https://attack.mitre.org/techniques/${id.replace('.', '/')}/` : undefined
}

/** The filter that shows more of the same kind, in place of the page's own. */
export function moreOf(e: AuditEvent, what: 'process' | 'container' | 'rule'): string | undefined {
  switch (what) {
    case 'process': return e.pid > 0 ? formatFilter([{ field: 'host.name', op: '=', value: e.host }, { field: 'process.pid', op: '=', value: String(e.pid) }]) : undefined
    case 'container': return e.container ? formatFilter([{ field: 'container.id', op: '=', value: e.container }]) : undefined
    case 'rule': return e.findings[0] ? formatFilter([ruleCondition(e.findings[0].rule)]) : undefined
  }
}

/** Finds events that meet the rule, also beside a worse one: findings are JSON. */
export function ruleCondition(rule: string): Condition {
  return { field: 'log.kernel.audit.findings', op: '=~', value: `"rule":"${rule}"` }
}

/** Whether the filter asks for the rule. */
export function asksRule(conditions: readonly Condition[], rule: string): boolean {
  const c = ruleCondition(rule)
  return conditions.some((x) => x.field === c.field && x.op === c.op && x.value === c.value)
}

/** Adds the rule to the filter, or takes it out where it is the one. */
export function toggleRule(conditions: readonly Condition[], rule: string): Condition[] {
  const c = ruleCondition(rule)
  const without = conditions.filter((x) => x.field !== c.field)
  return asksRule(conditions, rule) ? without : withCondition(without, c)
}
