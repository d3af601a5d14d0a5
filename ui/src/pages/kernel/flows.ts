// What can be worked out from flows: names, queries, and the links of a map.

import type { Flow, Level } from '../../api/kernel'
import { type Condition, formatFilter, tryParse } from '../../state/filter'

export type Endpoint = Flow['source']

/** What people call the endpoint, as the server does in filters. */
export function nameOf(p: Endpoint): string {
  if (p.service) return p.service
  const address = p.address.includes(':') && p.port ? `[${p.address}]` : p.address
  return p.port ? `${address}:${p.port}` : address
}

/** Whether the name is one that a service gave itself or has in its cluster: others are names of machines. */
export function isService(p: Endpoint): boolean {
  return p.service !== '' && p.namedBy !== 'spans' && p.namedBy !== 'dns'
}

/** The address of a named endpoint, for a second look; a service's own has none. */
export function addressOf(p: Endpoint): string {
  if (!p.service) return ''
  if (!p.address) return p.port && `:${p.port}`
  return nameOf({ ...p, service: '' })
}

const ranks: Record<Level, number> = { ok: 0, warning: 1, bad: 2 }

export const rank = (l: Level): number => ranks[l]

export const worse = (a: Level, b: Level): Level => (ranks[b] > ranks[a] ? b : a)

/** The range of rates in PromQL: some reports of the receiver. */
const over = '2m'

/** PromQL over the flow's series, by column. */
export function seriesOf(f: Pick<Flow, 'match' | 'role'>): Record<'sent' | 'received' | 'retransmits' | 'rtt' | 'connect' | 'failures' | 'resets' | 'connections', string> {
  const rate = (metric: string, more = '') => `sum(rate(${metric}{${[f.match, more].filter(Boolean).join(', ')}}[${over}]))`
  const bytes = (direction: string) => rate('kernel_tcp_io_bytes_total', `network_io_direction="${direction}"`)
  const quantiles = (metric: string) =>
    ['0.5', '0.99'].map((q) => `label_replace(histogram_quantile(${q}, ${rate(metric)}), "quantile", "${q}", "", "")`).join(' or ')
  // What the observed side sent goes to the other: for a server that is from target to source.
  const [out, back] = f.role === 'server' ? ['receive', 'transmit'] : ['transmit', 'receive']
  return {
    sent: bytes(out),
    received: bytes(back),
    retransmits: `${rate('kernel_tcp_retransmits_total')} / ${rate('kernel_tcp_segments_total')}`,
    rtt: quantiles('kernel_tcp_rtt_seconds'),
    connect: quantiles('kernel_tcp_connect_duration_seconds'),
    failures: `sum by (error_type) (increase(kernel_tcp_connect_failures_total{${f.match}}[${over}]))`,
    resets: `sum by (network_io_direction) (increase(kernel_tcp_resets_total{${f.match}}[${over}]))`,
    connections: `sum(kernel_tcp_connections{${f.match}})`,
  }
}

export interface NetworkLink {
  from: string
  to: string
  flows: Flow[]
  bytes: number
  health: Level
  /** The longest, as percentiles cannot be added; -1 when none was measured. */
  rttP99: number
  /** Of all segments; -1 without segments. */
  ratio: number
  /** The end that stands for several addresses. */
  folded?: 'from' | 'to'
}

/**
 * The links of a map: one for each pair. Where both sides of a link were seen,
 * it is the same traffic twice: the client's view counts it.
 */
export function linksOf(flows: readonly Flow[]): NetworkLink[] {
  const out = new Map<string, NetworkLink>()
  const groups = new Map<string, Flow[]>()
  for (const f of flows) {
    const key = `${nameOf(f.source)}\0${nameOf(f.target)}`
    groups.set(key, [...(groups.get(key) ?? []), f])
  }
  for (const [key, group] of groups) {
    const [from, to] = key.split('\0') as [string, string]
    const clients = group.filter((f) => f.role === 'client')
    const counted = clients.length > 0 ? clients : group
    const sum = (of: (f: Flow) => number) => counted.reduce((n, f) => n + of(f), 0)
    const segments = sum((f) => f.segments)
    out.set(key, {
      from,
      to,
      flows: group,
      bytes: sum((f) => f.bytesSent + f.bytesReceived),
      health: group.reduce<Level>((l, f) => worse(l, f.health), 'ok'),
      rttP99: Math.max(-1, ...counted.map((f) => f.rttP99)),
      ratio: segments > 0 ? sum((f) => f.retransmits) / segments : -1,
    })
  }
  return [...out.values()].sort((a, b) => rank(b.health) - rank(a.health) || b.bytes - a.bytes)
}

/** So many addresses that only one service talks to stand in a map by themselves. */
const fewAddresses = 4

/**
 * One link in place of those to addresses that nobody else has a link with, by
 * service, direction and health: a service with hundreds of clients is a picture of
 * nothing else. They are taken apart around the service that is in the middle. The
 * label of none is of those that the receiver itself summed up.
 */
export function foldAddresses(links: readonly NetworkLink[], focus: string | undefined, label: (addresses: number, service: string) => string): NetworkLink[] {
  const services = new Set(links.flatMap((l) => l.flows.flatMap((f) => [f.source, f.target])).filter(isService).map((e) => e.service))
  const met = new Map<string, number>()
  for (const l of links) for (const name of [l.from, l.to]) met.set(name, (met.get(name) ?? 0) + 1)
  const lone = (name: string) => !services.has(name) && met.get(name) === 1
  const groups = new Map<string, NetworkLink[]>()
  for (const plain of links) {
    const l = ownOthers(plain, services, label)
    const out = services.has(l.from) && lone(l.to)
    const [service, foldable] = out ? [l.from, true] : [l.to, services.has(l.to) && lone(l.from)]
    const key = foldable && service !== focus ? `${service}\0${out ? 'out' : 'in'}\0${l.health}` : `${l.from}\0${l.to}`
    groups.set(key, [...(groups.get(key) ?? []), l])
  }
  const folded = [...groups.values()].flatMap((group) => {
    const first = group[0]!
    if (group.length <= fewAddresses) return group
    const out = lone(first.to)
    const flows = group.flatMap((l) => l.flows)
    const segments = flows.reduce((n, f) => n + f.segments, 0)
    const name = label(group.length, out ? first.from : first.to)
    return {
      from: out ? first.from : name,
      to: out ? name : first.to,
      flows,
      bytes: group.reduce((n, l) => n + l.bytes, 0),
      health: first.health,
      rttP99: Math.max(...group.map((l) => l.rttP99)),
      ratio: segments > 0 ? flows.reduce((n, f) => n + f.retransmits, 0) / segments : -1,
      folded: out ? ('to' as const) : ('from' as const),
    }
  })
  return folded.sort((a, b) => rank(b.health) - rank(a.health) || b.bytes - a.bytes)
}

/** What the receiver sums up as "other" is of each service for itself: it is no place where they meet. */
function ownOthers(l: NetworkLink, services: ReadonlySet<string>, label: (addresses: number, service: string) => string): NetworkLink {
  if (l.to === 'other' && !services.has('other')) return { ...l, to: label(0, l.from), folded: 'to' }
  if (l.from === 'other' && !services.has('other')) return { ...l, from: label(0, l.to), folded: 'from' }
  return l
}

/** The condition that finds an endpoint's flows. */
export function endpointCondition(side: 'source' | 'target', name: string): Condition {
  return { field: side, op: '=', value: name }
}

/** Fields that a filter of flows may use, with how many flows have each. */
export function flowFields(flows: readonly Flow[]): { value: string; count: number }[] {
  const names = ['source', 'target', 'service.name', 'health', 'role', 'address', 'port', 'host.name', 'signal', 'rtt_p99', 'rtt_p50', 'connect_p99', 'retransmit_ratio', 'retransmits', 'failures', 'resets', 'bytes', 'connections', 'error.type']
  return names.map((value) => ({ value, count: value === 'signal' ? flows.filter((f) => f.signals.length > 0).length : flows.length }))
}

/** Values of a field, most frequent first. */
export function flowValues(flows: readonly Flow[], field: string): { value: string; count: number }[] {
  const of = (f: Flow): string[] => {
    switch (field) {
      case 'source': return [nameOf(f.source)]
      case 'target': return [nameOf(f.target)]
      case 'service.name': return [f.source.service, f.target.service]
      case 'health': return [f.health]
      case 'role': return [f.role]
      case 'address':
      case 'network.peer.address': return [f.source.address, f.target.address]
      case 'port':
      case 'network.peer.port': return [f.source.port, f.target.port]
      case 'host.name': return [f.host]
      case 'signal': return f.signals.map((s) => s.name)
      case 'error.type': return f.failureKinds.map((k) => k.value)
      default: return []
    }
  }
  const counts = new Map<string, number>()
  for (const f of flows) for (const v of new Set(of(f))) if (v) counts.set(v, (counts.get(v) ?? 0) + 1)
  return [...counts].map(([value, count]) => ({ value, count })).sort((a, b) => b.count - a.count || a.value.localeCompare(b.value))
}

/** The filter of a flow's events, for some of them only. */
export function eventsOf(records: string, pattern: string): string {
  return formatFilter(tryParse(records).map((c) => (c.field === 'event_name' ? { ...c, op: '=~', value: pattern } : c)))
}
