// What the kernel saw of the sockets behind a trace's client spans.

import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useMemo } from 'react'
import type { Schemas } from '../../api/client'
import { type SpanSockets, socketsOf } from '../../api/kernel'
import { Facts, Section } from '../../components/Attributes'
import { Mark } from '../../components/Mark'
import { Skeleton } from '../../components/States'
import { Time } from '../../components/Time'
import { useDates } from '../../state/dates'
import { absolute, parseTime } from '../../state/range'
import { useTexts } from '../../state/texts'
import { duration } from '../../state/units'
import { nameOf, seriesOf } from '../kernel/flows'
import { Health } from '../kernel/Parts'
import css from '../kernel/Kernel.module.css'

type Trace = Schemas['Trace']
type Span = Schemas['Span']

/** Spans that talk to somebody over a socket. */
const calls = (s: Pick<Span, 'kind'>) => s.kind === 'client' || s.kind === 'producer'

function useSockets(trace: Pick<Trace, 'traceId' | 'start' | 'spanList'>) {
  const some = useMemo(() => trace.spanList.some(calls), [trace])
  return useQuery({ ...socketsOf(trace.traceId, parseTime(trace.start)), enabled: some })
}

/** Spans whose connection had trouble, with what to say of it. */
export function useSocketMarks(trace: Trace): ReadonlyMap<string, string> {
  const t = useTexts()
  const { data } = useSockets(trace)
  return useMemo(() => new Map((data?.spans ?? []).filter(marked).map((s) => [s.spanId, t.kernel.spanMark(s.retransmits)])), [data, t])
}

/** Retransmits of the span's own socket, or enough on its connections to be a finding. */
export function marked(s: Pick<SpanSockets, 'exact' | 'retransmits' | 'health'>): boolean {
  return s.health === 'bad' || (s.exact && s.retransmits > 0)
}

/** In the panel of a span. What cannot be had is no error of the span: it is left out. */
export function Sockets({ trace, span }: { trace: Trace; span: Span }) {
  const t = useTexts()
  const { data, isFetching } = useSockets(trace)
  if (!calls(span)) return null
  if (isFetching && !data) return <Section title={t.kernel.facts}><Skeleton lines={2} /></Section>
  // Nobody watches: a section that is empty in every span says nothing.
  if (!data?.seen) return null
  const found = data.spans.find((s) => s.spanId === span.spanId)
  return (
    <Section title={t.kernel.facts} mark={found && <Exactness sockets={found} />}>
      {found ? <Found sockets={found} /> : <p className="dim" title={t.kernel.noFactsHint}>{t.kernel.noFacts}</p>}
    </Section>
  )
}

function Exactness({ sockets: s }: { sockets: SpanSockets }) {
  const t = useTexts()
  const dates = useDates()
  return s.exact ? (
    <Mark kind="good" reason={t.kernel.factsExactHint}>
      {t.kernel.factsExact}
    </Mark>
  ) : (
    <Mark reason={t.kernel.factsNearHint(dates.second(parseTime(s.start)), dates.second(parseTime(s.end)))}>{t.kernel.factsNear}</Mark>
  )
}

function Found({ sockets: s }: { sockets: SpanSockets }) {
  const t = useTexts()
  const [from, to] = [parseTime(s.start), parseTime(s.end)]
  const range = absolute({ start: Math.floor(from - 60_000), end: Math.ceil(to + 60_000) })
  const series = s.match ? seriesOf({ match: s.match, role: 'client' }) : undefined
  const figure = (text: string, expr: string | undefined) =>
    expr ? (
      <Link to="/metrics" search={{ ...range, expr }} className={css.figure}>
        {text}
      </Link>
    ) : (
      text
    )
  return (
    <>
      <Facts
        facts={[
          [t.kernel.health, <Health key="h" level={s.health} />],
          [t.kernel.target, nameOf(s.peer)],
          [t.kernel.retransmits, figure(s.segments > 0 ? t.kernel.retransmitsOf(s.retransmits, s.segments) : t.count(s.retransmits), series?.retransmits)],
          ['RTT', s.rttP99 >= 0 && figure(s.exact ? `${t.kernel.longest} ${duration(s.rttP99)}` : `P50 ${duration(s.rttP50)} · P99 ${duration(s.rttP99)}`, series?.rtt)],
          [t.kernel.connectP99, s.connectP99 >= 0 && figure(duration(s.connectP99), series?.connect)],
          [t.kernel.failures, s.failures > 0 && t.count(s.failures)],
          [t.kernel.resets, s.resets > 0 && t.count(s.resets)],
        ]}
      />
      {s.records.length > 0 && (
        <div className={css.records}>
          {s.records.map((r) => (
            <Link key={r.id} to="/logs" search={{ ...range, kernel: '1', log: r.id }} className={css.recordLine}>
              <Time at={r.time} form="clock" />
              <span>{r.text}</span>
            </Link>
          ))}
        </div>
      )}
    </>
  )
}
