import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useMemo } from 'react'
import type { Flow } from '../../api/kernel'
import { queryRange, stepFor } from '../../api/prometheus'
import { logs } from '../../api/queries'
import { Facts, Section } from '../../components/Attributes'
import { align } from '../../components/chart/align'
import { TimeChart } from '../../components/chart/TimeChart'
import { SidePanel } from '../../components/SidePanel'
import { Broken, Skeleton } from '../../components/States'
import { Time } from '../../components/Time'
import { absolute } from '../../state/range'
import { useTexts } from '../../state/texts'
import { keepRange, useQuestion, useSetUrl } from '../../state/url'
import { bytes, duration, percent } from '../../state/units'
import { nameOf, seriesOf } from './flows'
import css from './Kernel.module.css'
import { EndpointName } from './NetworkPage'
import { Health, Signals } from './Parts'

/** Events that are shown at once; the others are a click away. */
const fewEvents = 6

/** All that is known of a flow. */
export function FlowPanel({ flow: f, onClose }: { flow: Flow; onClose: () => void }) {
  const t = useTexts()
  const { start, end } = useQuestion()
  const service = f.role === 'server' ? f.target.service : f.source.service
  const series = seriesOf(f)
  const some = (n: number) => n > 0 && t.count(n)
  return (
    <SidePanel title={t.kernel.flow(nameOf(f.source), nameOf(f.target))} anchor={service ? { service, start, end } : undefined} onClose={onClose} wide>
      <Section title={t.kernel.signals}>
        <Signals signals={f.signals} />
      </Section>
      <Facts
        facts={[
          [t.kernel.health, <Health key="h" level={f.health} />],
          [t.kernel.source, <EndpointName key="s" end={f.source} />],
          [t.kernel.target, <EndpointName key="t" end={f.target} />],
          [t.kernel.seenBy, t.kernel.roleHint(f.role, f.host)],
          [t.kernel.sent, bytes(f.bytesSent)],
          [t.kernel.received, bytes(f.bytesReceived)],
          [t.kernel.retransmits, f.segments > 0 && `${percent(f.retransmitRatio)} · ${t.kernel.retransmitsOf(f.retransmits, f.segments)}`],
          ['RTT', f.rtts > 0 && `P50 ${duration(f.rttP50)} · P99 ${duration(f.rttP99)} · ${t.kernel.samples(f.rtts)}`],
          [t.kernel.connectP99, f.connects > 0 && `${duration(f.connectP99)} · ${t.kernel.samples(f.connects)}`],
          [t.kernel.accepts, some(f.accepts)],
          [t.kernel.acceptWait, f.acceptWait >= 0 && duration(f.acceptWait)],
          [t.kernel.failures, f.failures > 0 && f.failureKinds.map((k) => `${k.value} ${t.count(k.count)}`).join(', ')],
          [t.kernel.resets, some(f.resets)],
          [t.kernel.outOfOrder, some(f.outOfOrder)],
          [t.kernel.zeroWindows, some(f.zeroWindows)],
          [t.kernel.timeWaits, some(f.timeWaits)],
          [t.kernel.connections, t.count(f.connections)],
        ]}
      />
      <Section title={t.kernel.series}>
        <Series title={`${t.kernel.sent}, ${t.kernel.received}`} exprs={[[t.kernel.sent, series.sent], [t.kernel.received, series.received]]} format={(v) => `${bytes(v)}/s`} />
        <Series title="RTT" exprs={[['', series.rtt]]} format={(v) => duration(v * 1e9)} />
        <Series title={t.kernel.retransmits} exprs={[[t.kernel.retransmits, series.retransmits]]} format={percent} />
      </Section>
      <Section title={t.kernel.events}>
        <Events flow={f} />
      </Section>
    </SidePanel>
  )
}

function Series({ title, exprs, format }: { title: string; exprs: readonly [string, string][]; format: (v: number) => string }) {
  const t = useTexts()
  const set = useSetUrl()
  const { start, end } = useQuestion()
  const joined = exprs.length === 1 ? exprs[0]![1] : exprs.map(([name, e]) => `label_replace(${e}, "series", "${name}", "", "")`).join(' or ')
  const { data, error, refetch, isPending } = useQuery(queryRange({ start, end }, joined, stepFor(start, end, 120)))
  const { times, lines } = useMemo(() => align(data?.series ?? [], stepFor(start, end, 120)), [data, start, end])
  return (
    <div className={css.chart}>
      <div className={css.chartHead}>
        <span>{title}</span>
        <Link to="/metrics" search={(last) => ({ ...keepRange(last), expr: joined })}>
          {t.kernel.series}
        </Link>
      </div>
      {error ? (
        <Broken compact error={error} onRetry={() => void refetch()} />
      ) : isPending ? (
        <Skeleton lines={3} />
      ) : (
        <TimeChart label={title} times={times} lines={lines} start={start} end={end} format={format} sync="flow" height={96} onBrush={(a, b) => set(absolute({ start: a, end: b }))} />
      )}
    </div>
  )
}

function Events({ flow }: { flow: Flow }) {
  const t = useTexts()
  const { start, end } = useQuestion()
  const { data, error, refetch, isPending } = useInfiniteQuery(logs({ start, end, filter: flow.records }, fewEvents))
  if (error) return <Broken compact error={error} onRetry={() => void refetch()} />
  if (isPending) return <Skeleton lines={3} />
  const rows = data.pages[0]?.logs ?? []
  if (rows.length === 0) return <p className="dim">{t.kernel.noEvents}</p>
  return (
    <div className={css.records}>
      {rows.map((l) => (
        <Link key={l.id} to="/logs" search={(last) => ({ ...keepRange(last), q: flow.records, log: l.id })} className={css.recordLine}>
          <Time at={l.time} form="clock" />
          <span>{l.body}</span>
        </Link>
      ))}
      {data.pages[0]?.next && (
        <Link to="/logs" search={(last) => ({ ...keepRange(last), q: flow.records })} className={css.external}>
          {t.kernel.allEvents}
        </Link>
      )}
    </div>
  )
}
