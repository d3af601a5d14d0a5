import { useMemo } from 'react'
import type { Schemas } from '../../api/client'
import type { Flow } from '../../api/kernel'
import { type Describe, ServiceMap } from '../../components/map/ServiceMap'
import { Button } from '../../components/Button'
import { SidePanel } from '../../components/SidePanel'
import { formatFilter } from '../../state/filter'
import { useTexts } from '../../state/texts'
import { useQuestion, useSetUrl, useUrl } from '../../state/url'
import { bytes, duration, percent } from '../../state/units'
import { endpointCondition, foldAddresses, isService, linksOf, type NetworkLink, worse } from './flows'
import css from './Kernel.module.css'
import { Health } from './Parts'

/** A picture of more links cannot be read; the worst and the busiest come first. */
const mostLinks = 48

const noFigures = { rate: 0, errorRate: 0, p50: -1, p95: -1, p99: -1, count: 0, stored: 0 }

/** Who talks to whom; a link is red where a limit is passed. */
export function NetworkMap({ flows }: { flows: readonly Flow[] }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const all = useMemo(() => foldAddresses(linksOf(flows), url.focus, t.kernel.addressesOf), [flows, url.focus, t])
  const near = useMemo(() => (url.focus ? all.filter((l) => l.from === url.focus || l.to === url.focus) : all), [all, url.focus])
  const links = useMemo(() => near.slice(0, mostLinks), [near])
  const { graph, describe } = useMemo(() => draw(links, flows, t), [links, flows, t])
  return (
    <>
      {links.length < near.length && <p className={css.note}>{t.kernel.mapCut(links.length, near.length)}</p>}
      <div className={css.view} style={{ flexDirection: 'row' }}>
        <div className={css.view}>
          <ServiceMap graph={graph} describe={describe} chosen={url.focus} onChoose={(focus) => set({ focus })} />
        </div>
        {url.focus && <Around name={url.focus} links={links} />}
      </div>
    </>
  )
}

type Texts = ReturnType<typeof useTexts>

/** All that is told of a link. */
function figures(l: NetworkLink, t: Texts): string[] {
  const names = new Set(l.flows.flatMap((f) => f.signals.map((s) => s.name)))
  return [
    bytes(l.bytes),
    ...(l.rttP99 >= 0 ? [`RTT P99 ${duration(l.rttP99)}`] : []),
    ...(l.ratio > 0 ? [`${t.kernel.retransmits} ${percent(l.ratio)}`] : []),
    ...[...names].map((n) => t.kernel.signal[n] ?? n),
  ]
}

/** What there is room for: the traffic with the health, and what is wrong or how long a round trip takes. */
function short(l: NetworkLink, t: Texts): string[] {
  const lossy = l.flows.some((f) => f.signals.some((s) => s.name === 'tcp.retransmits'))
  return [
    `${bytes(l.bytes)}${l.health === 'ok' ? '' : ` · ${t.kernel.level[l.health]}`}`,
    lossy ? `${t.kernel.retransmits} ${percent(l.ratio)}` : l.rttP99 >= 0 ? `RTT ${duration(l.rttP99)}` : '',
  ]
}

function draw(links: readonly NetworkLink[], flows: readonly Flow[], t: Texts): { graph: Schemas['Graph']; describe: Describe } {
  const services = new Set<string>()
  for (const f of flows) for (const e of [f.source, f.target]) if (isService(e)) services.add(e.service)
  const names = [...new Set(links.flatMap((l) => [l.from, l.to]))]
  const byPair = new Map(links.map((l) => [`${l.from}\0${l.to}`, l]))
  const totals = new Map(
    names.map((name) => {
      const own = links.filter((l) => l.from === name || l.to === name)
      return [name, { bytes: own.reduce((n, l) => n + l.bytes, 0), health: own.reduce<Flow['health']>((h, l) => worse(h, l.health), 'ok') }]
    }),
  )
  const kind = (name: string) => (services.has(name) ? ('service' as const) : ('external' as const))
  return {
    graph: {
      nodes: names.map((name) => ({ name, kind: kind(name), ...noFigures })),
      edges: links.map((l) => ({ from: l.from, to: l.to, kind: 'call', ...noFigures, rate: l.bytes })),
    },
    describe: {
      label: t.kernel.mapLabel(names.length, links.length),
      edge: (e) => {
        const l = byPair.get(`${e.from}\0${e.to}`)!
        return { lines: short(l, t), title: [t.kernel.flow(l.from, l.to), `${t.kernel.health} ${t.kernel.level[l.health]}`, ...figures(l, t)].join('\n'), bad: l.health === 'bad' }
      },
      node: (n) => {
        const total = totals.get(n.name)!
        const text = bytes(total.bytes)
        return { figures: text, title: `${n.name}, ${t.kernel.endpoint[kind(n.name) === 'service' ? 'service' : 'address']}, ${text}, ${t.kernel.health} ${t.kernel.level[total.health]}`, bad: total.health === 'bad' }
      },
    },
  }
}

/** The filter of a link's flows; addresses that stand together are those of one health. */
function onlyThese(l: NetworkLink): string {
  return formatFilter([
    ...(l.folded === 'from' ? [] : [endpointCondition('source', l.from)]),
    ...(l.folded === 'to' ? [] : [endpointCondition('target', l.to)]),
    ...(l.folded ? [{ field: 'health', op: '=', value: l.health } as const] : []),
  ])
}

/** The links of the node in the middle; each opens its flows in the table. */
function Around({ name, links }: { name: string; links: readonly NetworkLink[] }) {
  const t = useTexts()
  const set = useSetUrl()
  const { start, end } = useQuestion()
  const service = links.some((l) => l.flows.some((f) => [f.source, f.target].some((e) => e.service === name && isService(e))))
  return (
    <SidePanel title={name} anchor={service ? { service: name, start, end } : undefined} onClose={() => set({ focus: undefined })}>
      <ul className={css.signals}>
        {links.map((l) => (
          <li key={`${l.from}\0${l.to}`} className={`${css.signal} ${l.health === 'bad' ? css.signalBad : l.health === 'warning' ? css.signalWarning : ''}`}>
            <div>{t.kernel.flow(l.from, l.to)}</div>
            <div className="dim">{figures(l, t).join(' · ')}</div>
            <Health level={l.health} />{' '}
            <Button small icon="filter" onClick={() => set({ view: undefined, focus: undefined, q: onlyThese(l) })}>
              {t.kernel.onlyFlows}
            </Button>
          </li>
        ))}
      </ul>
    </SidePanel>
  )
}
