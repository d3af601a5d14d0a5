import { Link } from '@tanstack/react-router'
import { useMemo } from 'react'
import type { Schemas } from '../../api/client'
import { type Column, DataTable } from '../../components/DataTable'
import { ServiceName } from '../../components/Mark'
import { Empty } from '../../components/States'
import { type Texts, useTexts } from '../../state/texts'
import { keepRange, parseSort, useSetUrl, useUrl } from '../../state/url'
import { percent } from '../../state/units'
import css from './Kernel.module.css'
import { Health, NoReceiver, Signals } from './Parts'

type Space = Schemas['NetNamespace']
type Socket = Schemas['ListeningSocket']

/** Sockets by namespace: states, overflows, and who listens. */
export function Namespaces({ spaces, seen }: { spaces: readonly Space[]; seen: boolean }) {
  const t = useTexts()
  if (spaces.length === 0) return seen ? <Empty title={t.kernel.noNamespaces} /> : <NoReceiver />
  return (
    <div className={`${css.scroll} ${css.spaces}`} tabIndex={0}>
      {spaces.map((s) => (
        <Namespace key={`${s.host}\0${s.id}`} space={s} />
      ))}
    </div>
  )
}

function Namespace({ space: s }: { space: Space }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const columns = useMemo(() => listenerColumns(t, s.match), [t, s.match])
  const figure = (title: string, text: string, expr: string, over: boolean) => (
    <span title={title}>
      <span className="dim">{title}</span>{' '}
      <Link to="/metrics" search={(last) => ({ ...keepRange(last), expr })} className={`${css.figure} ${over ? css.over : ''}`}>
        {text}
      </Link>
    </span>
  )
  return (
    <section aria-label={`${s.host} ${s.id}`}>
      <div className={css.spaceHead}>
        <h2>
          {s.host} <span className="dim mono">{s.id}</span>
        </h2>
        <Health level={s.health} />
        {figure(t.kernel.sockets, t.count(s.sockets), `sum by (network_connection_state) (kernel_tcp_sockets{${s.match}})`, false)}
        {figure(t.kernel.timeWait, percent(s.timeWaitShare), `sum(kernel_tcp_sockets{${s.match}, network_connection_state="time_wait"}) / sum(kernel_tcp_sockets{${s.match}, network_connection_state!~"listen|close"})`, s.signals.some((x) => x.name === 'tcp.time_wait'))}
        {figure(t.kernel.overflows, t.count(s.listenOverflows), `rate(kernel_tcp_listen_overflows_total{${s.match}}[2m])`, s.listenOverflows > 0)}
        {figure(t.kernel.drops, t.count(s.listenDrops), `rate(kernel_tcp_listen_drops_total{${s.match}}[2m])`, s.listenDrops > 0)}
      </div>
      {s.states.length > 0 && (
        <p className={css.states}>
          {s.states.map((x) => (
            <span key={x.value}>
              {x.value} <b>{t.count(x.count)}</b>
            </span>
          ))}
        </p>
      )}
      {s.signals.length > 0 && (
        <div className={css.inset}>
          <Signals signals={s.signals} />
        </div>
      )}
      {s.listeners.length > 0 ? (
        <DataTable
          label={`${t.kernel.listeners}: ${s.host} ${s.id}`}
          rows={s.listeners}
          columns={columns}
          rowKey={(l) => `${l.service}\0${l.address}\0${l.port}`}
          sort={url.sort ? parseSort(url.sort, '') : undefined}
          onSort={(sort) => set({ sort }, { replace: true })}
        />
      ) : (
        <p className={`${css.inset} dim`}>{t.kernel.noListeners}</p>
      )}
    </section>
  )
}

function listenerColumns(t: Texts, match: string): Column<Socket>[] {
  const of = (l: Socket) => `{${match}, network_local_port="${l.port}"}`
  const figure = (expr: string, text: string, over = false) => (
    <Link to="/metrics" search={(last) => ({ ...keepRange(last), expr })} className={`${css.figure} ${over ? css.over : ''}`}>
      {text}
    </Link>
  )
  return [
    { key: 'service', head: t.services.name, width: 'minmax(160px, 2fr)', cell: (l) => <ServiceName name={l.service} />, sort: (l) => l.service },
    { key: 'listener', head: t.kernel.listener, width: 'minmax(120px, 1fr)', cell: (l) => <span className="mono">{l.address.includes(':') ? `[${l.address}]:${l.port}` : `${l.address}:${l.port}`}</span>, sort: (l) => Number(l.port) },
    {
      key: 'queue', head: t.kernel.queue, width: '160px', align: 'end', sort: (l) => l.peak,
      cell: (l) => <span title={t.kernel.queueHint}>{figure(`kernel_tcp_listen_queue${of(l)}`, `${t.count(l.queue)} / ${t.count(l.peak)} / ${t.count(l.limit)}`, l.limit > 0 && l.peak > l.limit)}</span>,
    },
    {
      key: 'flows', head: t.kernel.network, width: '120px', align: 'end',
      cell: (l) => (
        <Link to="/kernel" search={(last) => ({ ...keepRange(last), q: `service.name = ${JSON.stringify(l.service)} and port = ${l.port}` })} className={css.figure}>
          {t.kernel.network}
        </Link>
      ),
    },
  ]
}
