import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useMemo } from 'react'
import { type Flow, type Level, network } from '../../api/kernel'
import { type Column, DataTable } from '../../components/DataTable'
import { FilterInput } from '../../components/FilterBar'
import { Mark, ServiceName } from '../../components/Mark'
import { Page } from '../../components/Page'
import { SidePanel } from '../../components/SidePanel'
import { Broken, Busy, Empty, NoMatch, Skeleton } from '../../components/States'
import { Views } from '../../components/Views'
import { type Texts, useTexts } from '../../state/texts'
import { keepRange, parseSort, useQuestion, useSetUrl, useUrl } from '../../state/url'
import { bytes, duration, percent } from '../../state/units'
import { FlowPanel } from './FlowPanel'
import { addressOf, eventsOf, flowFields, flowValues, isService, nameOf, rank, seriesOf } from './flows'
import css from './Kernel.module.css'
import { Namespaces } from './Namespaces'
import { NetworkMap } from './NetworkMap'
import { Health, NoReceiver, Refused, Tabs } from './Parts'

const views = ['table', 'map', 'namespaces'] as const

export default function NetworkPage() {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const question = useQuestion()
  const view = views.find((v) => v === url.view) ?? 'table'
  const answer = useQuery(network(question))
  const { data, error, refetch, isPending, isFetching } = answer
  const known = useMemo(() => ({ fields: flowFields(data?.flows ?? []), values: (field: string) => flowValues(data?.flows ?? [], field) }), [data])
  const chosen = data?.flows.find((f) => f.id === url.flow)
  const flow = url.flow !== undefined && (chosen ?? null)
  return (
    <Page
      title={t.kernel.network}
      heading={t.kernel.title}
      tools={<Tabs />}
      bar={<FilterInput signal="network" label={t.filter.label} placeholder={t.kernel.placeholder} value={url.q ?? ''} onChange={(q) => set({ q: q || undefined })} known={known} />}
      side={
        flow ? (
          <FlowPanel flow={flow} onClose={() => set({ flow: undefined })} />
        ) : (
          // From a link: the flow may be none of this range.
          flow === null && !isPending && (
            <SidePanel title={t.kernel.network} onClose={() => set({ flow: undefined })}>
              <Empty compact title={t.state.noMatch} hint={t.state.noMatchHint} />
            </SidePanel>
          )
        )
      }
    >
      <div className={css.tools}>
        <Views label={t.kernel.network} value={view} views={views.map((v) => ({ value: v, text: t.kernel[v] }))} patch={{ focus: undefined, sort: undefined }} />
        <span className={css.spacer} />
        {data && view !== 'namespaces' && <span className="dim">{data.total > data.flows.length ? t.kernel.flowsCut(data.flows.length, data.total) : t.kernel.flows(data.total)}</span>}
      </div>
      {data && <Refused features={data.features} feature="tcp" />}
      <div className={css.view}>
        <Busy on={isFetching && !isPending} />
        {error ? (
          <Broken error={error} onRetry={() => void refetch()} />
        ) : isPending ? (
          <Skeleton lines={14} />
        ) : view === 'namespaces' ? (
          <Namespaces spaces={data.namespaces} seen={data.features.length > 0} />
        ) : data.flows.length === 0 ? (
          question.filter ? <NoMatch /> : data.features.length === 0 ? <NoReceiver /> : <Empty title={t.kernel.noFlows} hint={t.kernel.noFlowsHint} />
        ) : view === 'map' ? (
          <NetworkMap flows={data.flows} />
        ) : (
          <Flows flows={data.flows} />
        )}
      </div>
    </Page>
  )
}

function Flows({ flows }: { flows: readonly Flow[] }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const columns = useMemo(() => flowColumns(t), [t])
  return (
    <DataTable
      label={t.kernel.network}
      rows={flows}
      columns={columns}
      rowKey={(f) => f.id}
      selected={url.flow}
      sort={url.sort ? parseSort(url.sort, '') : undefined}
      onSort={(sort) => set({ sort }, { replace: true })}
      onOpen={(f) => set({ flow: f.id })}
      virtual
      keys
    />
  )
}

export function EndpointName({ end }: { end: Flow['source'] }) {
  const t = useTexts()
  const address = addressOf(end)
  if (end.address === 'other' && !end.service) return <Mark reason={t.kernel.othersHint}>{t.kernel.others}</Mark>
  return (
    <span className={css.end} title={[nameOf(end), address, t.kernel.namedBy[end.namedBy]].filter(Boolean).join('\n')}>
      {isService(end) ? <ServiceName name={end.service} /> : <span className={end.service ? 'cut' : 'cut mono'}>{nameOf(end)}</span>}
      {address && <span className={`dim mono cut ${css.address}`}>{address}</span>}
    </span>
  )
}

function flowColumns(t: Texts): Column<Flow>[] {
  const look: Record<Level, string | undefined> = { ok: '', warning: css.warning, bad: css.over }
  const series = (text: string, expr: string, level: Level = 'ok') => (
    <Link to="/metrics" search={(last) => ({ ...keepRange(last), expr })} className={`${css.figure} ${look[level]}`}>
      {text}
    </Link>
  )
  const above = (f: Flow, name: string) => f.signals.find((s) => s.name === name)?.level
  const count = (f: Flow, n: number, event: string, level: Level = 'ok') =>
    n > 0 ? (
      <Link to="/logs" search={(last) => ({ ...keepRange(last), q: eventsOf(f.records, event) })} className={`${css.figure} ${look[level]}`}>
        {t.count(n)}
      </Link>
    ) : (
      <span className="dim">0</span>
    )
  return [
    { key: 'health', head: t.kernel.health, width: '82px', cell: (f) => <Health level={f.health} />, sort: (f) => rank(f.health) },
    { key: 'source', head: t.kernel.source, width: 'minmax(104px, 2fr)', cell: (f) => <EndpointName end={f.source} />, sort: (f) => nameOf(f.source) },
    { key: 'target', head: t.kernel.target, width: 'minmax(128px, 2.4fr)', cell: (f) => <EndpointName end={f.target} />, sort: (f) => nameOf(f.target) },
    { key: 'role', head: t.kernel.seenBy, width: '56px', cell: (f) => <span className="dim" title={t.kernel.roleHint(f.role, f.host)}>{t.kernel.role[f.role]}</span>, sort: (f) => f.role },
    { key: 'sent', head: t.kernel.sent, width: '72px', align: 'end', cell: (f) => series(bytes(f.bytesSent), seriesOf(f).sent), sort: (f) => f.bytesSent },
    { key: 'received', head: t.kernel.received, width: '72px', align: 'end', cell: (f) => series(bytes(f.bytesReceived), seriesOf(f).received), sort: (f) => f.bytesReceived },
    {
      key: 'retransmits', head: t.kernel.retransmits, width: '80px', align: 'end', sort: (f) => f.retransmitRatio,
      cell: (f) => <span title={t.kernel.retransmitsOf(f.retransmits, f.segments)}>{series(percent(f.retransmitRatio), seriesOf(f).retransmits, above(f, 'tcp.retransmits'))}</span>,
    },
    { key: 'rttP50', head: t.kernel.rttP50, width: '64px', align: 'end', cell: (f) => series(duration(f.rttP50), seriesOf(f).rtt), sort: (f) => f.rttP50 },
    { key: 'rttP99', head: t.kernel.rttP99, width: '64px', align: 'end', cell: (f) => series(duration(f.rttP99), seriesOf(f).rtt, above(f, 'tcp.rtt_p99')), sort: (f) => f.rttP99 },
    { key: 'connect', head: t.kernel.connectP99, width: '84px', align: 'end', cell: (f) => series(duration(f.connectP99), seriesOf(f).connect, f.connectP99 < 0 ? 'ok' : above(f, 'tcp.syn_ack')), sort: (f) => f.connectP99 },
    { key: 'failures', head: t.kernel.failures, width: '52px', align: 'end', cell: (f) => count(f, f.failures, '^kernel\\.tcp\\.connect_failed$', above(f, 'tcp.connect_failures')), sort: (f) => f.failures },
    { key: 'resets', head: t.kernel.resets, width: '46px', align: 'end', cell: (f) => count(f, f.resets, '^kernel\\.tcp\\.reset_'), sort: (f) => f.resets },
    { key: 'connections', head: t.kernel.connections, width: '44px', align: 'end', cell: (f) => series(t.count(f.connections), seriesOf(f).connections), sort: (f) => f.connections },
  ]
}
