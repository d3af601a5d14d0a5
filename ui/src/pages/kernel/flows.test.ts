import { expect, test } from 'vitest'
import type { Flow } from '../../api/kernel'
import { addressOf, flowValues, foldAddresses, linksOf, nameOf, seriesOf } from './flows'

const end = (service: string, address = '', port = '') => ({ service, address, port, namedBy: 'kernel' as const })
const flow = (from: Flow['source'], to: Flow['target'], more: Partial<Flow> = {}): Flow => ({
  id: '', source: from, target: to, role: 'client', host: 'a', bytesSent: 10, bytesReceived: 20, segments: 100, retransmits: 1, retransmitRatio: 0.01, outOfOrder: 0, rtts: 1, rttP50: 1, rttP99: 5,
  connects: 0, connectP99: -1, accepts: 0, acceptWait: -1, failures: 0, failureKinds: [], resets: 0, zeroWindows: 0, timeWaits: 0, connections: 0, health: 'ok', signals: [], match: 'job="a"', records: '', ...more,
})

test('an endpoint is called by its service, else by its address', () => {
  expect(nameOf(end('order', '10.0.0.1', '80'))).toBe('order')
  expect(addressOf(end('order', '10.0.0.1', '80'))).toBe('10.0.0.1:80')
  expect(nameOf(end('', 'fe80::1', '80'))).toBe('[fe80::1]:80')
  expect(nameOf(end('', 'fe80::1'))).toBe('fe80::1')
  expect(addressOf(end('', '10.0.0.1', '80'))).toBe('')
  expect(addressOf(end('order', '', '80'))).toBe(':80')
})

test('both sides of a link count its traffic once', () => {
  const links = linksOf([
    flow(end('a'), end('b', '10.0.0.2', '80')),
    flow(end('a'), end('b', '10.0.0.3', '80'), { health: 'warning', rttP99: 9 }),
    flow(end('a'), end('b', '', '80'), { role: 'server', bytesSent: 999, health: 'bad', rttP99: 99 }),
    flow(end('', '10.0.0.9'), end('b', '', '80'), { role: 'server', segments: 0, retransmits: 0, rttP99: -1 }),
  ])
  expect(links.map((l) => [l.from, l.to, l.bytes, l.health, l.rttP99, l.ratio, l.flows.length])).toEqual([
    ['a', 'b', 60, 'bad', 9, 0.01, 3],
    ['10.0.0.9', 'b', 30, 'ok', -1, -1, 1],
  ])
})

test('addresses that one service alone talks to stand together', () => {
  const to = (n: number, more?: Partial<Flow>) => flow(end('a'), end('', `10.0.1.${n}`, '443'), more)
  const links = linksOf([
    flow(end('a'), end('b', '10.0.0.2', '80')),
    ...[1, 2, 3, 4, 5].map((n) => to(n)),
    to(6, { health: 'bad' }),
    to(7),
    flow(end('a'), end('', 'other')),
    flow(end('b'), end('', 'other')),
    flow(end('b'), end('', '10.0.1.7', '443')),
    ...[1, 2, 3, 4, 5].map((n) => flow(end('', `10.0.2.${n}`), end('b', '', '80'), { role: 'server' })),
  ])
  const said = (focus?: string) => foldAddresses(links, focus, (n, of) => `${n} of ${of}`).map((l) => `${l.from} → ${l.to} ${l.bytes} ${l.folded ?? ''}`).sort()
  expect(said()).toEqual(['5 of b → b 150 from', 'a → 10.0.1.6:443 30 ', 'a → 10.0.1.7:443 30 ', 'a → 5 of a 150 to', 'a → b 30 ', 'a → 0 of a 30 to', 'b → 0 of b 30 to', 'b → 10.0.1.7:443 30 '].sort())
  expect(said('a')).toHaveLength(12)
})

test('what a server sent goes from target to source', () => {
  expect(seriesOf({ match: 'job="a"', role: 'client' }).sent).toBe('sum(rate(kernel_tcp_io_bytes_total{job="a", network_io_direction="transmit"}[2m]))')
  expect(seriesOf({ match: 'job="a"', role: 'server' }).sent).toContain('network_io_direction="receive"')
})

test('values complete from both ends', () => {
  const flows = [flow(end('a'), end('b', '10.0.0.2', '80')), flow(end('b'), end('', '10.0.0.3', '81'))]
  expect(flowValues(flows, 'service.name')).toEqual([{ value: 'b', count: 2 }, { value: 'a', count: 1 }])
  expect(flowValues(flows, 'target').map((v) => v.value)).toEqual(['10.0.0.3:81', 'b'])
  expect(flowValues(flows, 'bytes')).toEqual([])
})
