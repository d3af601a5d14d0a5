import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { Fragment } from 'react'
import type { Schemas } from '../../api/client'
import { graph } from '../../api/queries'
import { Button } from '../../components/Button'
import { ServiceName } from '../../components/Mark'
import { SidePanel } from '../../components/SidePanel'
import type { Condition } from '../../state/filter'
import { useTexts } from '../../state/texts'
import { keepRange, useQuestion, useSetUrl } from '../../state/url'
import { duration, percent, rate } from '../../state/units'
import { tracesOf } from './columns'
import css from './ServicesPage.module.css'

type Edge = Schemas['Edge']

/** The spans of a call: seen by the callee, or by the caller when the callee sends no telemetry. */
function spansOf(e: Edge): Condition[] {
  const of = (service: string, kind: string): Condition[] => [
    { field: 'service.name', op: '=', value: service },
    { field: 'kind', op: '=', value: kind },
  ]
  switch (e.kind) {
    case 'messaging': return of(e.to, 'consumer')
    case 'database':
    case 'external': return of(e.from, 'client')
    case 'call':
    case 'client': return of(e.to, 'server')
  }
}

/** What is known of the node in the middle of the map. */
export function NodePanel({ name }: { name: string }) {
  const t = useTexts()
  const set = useSetUrl()
  const { start, end } = useQuestion()
  const { data } = useQuery(graph({ start, end }, name))
  const node = data?.nodes.find((n) => n.name === name)
  const isService = node?.kind === 'service'
  return (
    <SidePanel title={isService ? <ServiceName name={name} /> : name} anchor={isService ? { service: name, start, end } : undefined} onClose={() => set({ focus: undefined })}>
      {node && (
        <dl className={css.facts}>
          <dt>{t.service.kind}</dt>
          <dd>{t.services.kind[node.kind]}</dd>
          <dt>{t.signal.rate}</dt>
          <dd>
            {rate(node.rate)} {t.units.perSecond}
          </dd>
          <dt>{t.signal.errorRate}</dt>
          <dd>{percent(node.errorRate)}</dd>
          <dt>P95</dt>
          <dd>{duration(node.p95)}</dd>
        </dl>
      )}
      <Edges title={t.service.upstream} edges={data?.edges.filter((e) => e.to === name) ?? []} other={(e) => e.from} empty={t.service.nobody} />
      <Edges title={t.service.downstream} edges={data?.edges.filter((e) => e.from === name) ?? []} other={(e) => e.to} empty={t.service.nothing} />
      {isService && (
        <Link to="/services/$service" params={{ service: name }} search={keepRange}>
          <Button icon="open">{t.services.open(name)}</Button>
        </Link>
      )}
    </SidePanel>
  )
}

export function Edges({ title, edges, other, empty }: { title: string; edges: readonly Edge[]; other: (e: Edge) => string; empty: string }) {
  const t = useTexts()
  return (
    <section>
      <h3>{title}</h3>
      {edges.length === 0 ? (
        <p className="dim">{empty}</p>
      ) : (
        <dl className={css.edges}>
          {edges.map((e) => (
            <Fragment key={`${e.from}\0${e.to}\0${e.kind}`}>
              <dt>
                {e.kind === 'call' || e.kind === 'messaging' ? <ServiceName name={other(e)} /> : (
                  <span className="cut">
                    {other(e)} <span className="dim">{t.services.kind[e.kind]}</span>
                  </span>
                )}
              </dt>
              <dd className="num">
                <Link to="/traces" search={tracesOf(spansOf(e))} title={t.services.callTraces}>
                  {rate(e.rate)} {t.units.perSecond}
                </Link>
              </dd>
              <dd className={`num ${e.errorRate >= 0.01 ? css.bad : ''}`}>
                <Link to="/traces" search={tracesOf([...spansOf(e), { field: 'status', op: '=', value: 'error' }])}>
                  {percent(e.errorRate)}
                </Link>
              </dd>
              <dd className="num">{duration(e.p95)}</dd>
            </Fragment>
          ))}
        </dl>
      )}
    </section>
  )
}
