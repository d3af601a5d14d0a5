import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useCallback, useMemo } from 'react'
import type { Schemas } from '../../api/client'
import { type Question, status, traces } from '../../api/queries'
import { type Column, DataTable } from '../../components/DataTable'
import { Mark, ServiceName } from '../../components/Mark'
import { Broken, Busy, NoMatch, NothingYet, Skeleton } from '../../components/States'
import { Time } from '../../components/Time'
import { serviceColour } from '../../state/colour'
import { formatFilter, tryParse, withCondition } from '../../state/filter'
import { parseTime } from '../../state/range'
import { type Texts, useTexts } from '../../state/texts'
import { keepAll, parseSort, useSetUrl, useUrl } from '../../state/url'
import { duration, percent } from '../../state/units'
import css from './TracesPage.module.css'

type Trace = Schemas['TraceSummary']

/** Grouping looks at so many of the newest traces. */
const groupedTraces = 500

export function TraceList({ question, grouped }: { question: Question; grouped: boolean }) {
  const t = useTexts()
  const { data, error, refetch, isPending, isFetching, hasNextPage, fetchNextPage } = useInfiniteQuery(traces(question, grouped ? groupedTraces : 100))
  const rows = useMemo(() => data?.pages.flatMap((p) => p.traces) ?? [], [data])
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetching) void fetchNextPage()
  }, [hasNextPage, isFetching, fetchNextPage])
  if (error && rows.length === 0) return <Broken error={error} onRetry={() => void refetch()} />
  if (isPending) return <Skeleton lines={10} />
  if (rows.length === 0) return <NoTraces filtered={Boolean(question.filter)} />
  return (
    <>
      <Busy on={isFetching} />
      {grouped ? (
        <Operations rows={rows} more={hasNextPage} />
      ) : (
        <Flat rows={rows} onEnd={onEnd} foot={error ? <Broken compact error={error} onRetry={() => void fetchNextPage()} /> : isFetching && <p className="dim">{t.common.loading}</p>} />
      )}
    </>
  )
}

/** Tells a filter that is too narrow from a server that has no traces at all. */
function NoTraces({ filtered }: { filtered: boolean }) {
  const { data } = useQuery(status())
  const stored = data?.stores.find((s) => s.signal === 'traces')
  return !filtered && stored?.rows === 0 ? <NothingYet /> : <NoMatch />
}

function Flat({ rows, onEnd, foot }: { rows: Trace[]; onEnd: () => void; foot: React.ReactNode }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const navigate = useNavigate()
  const longest = useMemo(() => Math.max(1, ...rows.map((r) => r.durationNs)), [rows])
  const columns = useMemo(() => traceColumns(t, longest), [t, longest])
  return (
    <DataTable
      label={t.traces.title}
      rows={rows}
      columns={columns}
      rowKey={(r) => r.traceId}
      sort={url.sort ? parseSort(url.sort, '') : undefined}
      onSort={(sort) => set({ sort }, { replace: true })}
      onOpen={(r) => void navigate({ to: '/traces/$traceId', params: { traceId: r.traceId }, search: (last) => ({ ...keepAll(last), near: String(Math.round(parseTime(r.start))) }) })}
      virtual
      keys
      onEnd={onEnd}
      foot={foot}
    />
  )
}

function traceColumns(t: Texts, longest: number): Column<Trace>[] {
  return [
    { key: 'start', head: t.traces.start, width: '140px', cell: (r) => <Time at={r.start} form="moment" />, sort: (r) => parseTime(r.start) },
    {
      key: 'name', head: t.traces.name, width: 'minmax(220px, 3fr)', sort: (r) => `${r.service} ${r.name}`,
      cell: (r) => (
        <span className={css.name}>
          <ServiceName name={r.service} link={false} />
          <span className="cut" title={r.name}>
            {r.name}
          </span>
          {r.rootMissing && (
            <Mark kind="warn" reason={t.mark.rootMissing}>
              {t.mark.partial}
            </Mark>
          )}
          {r.weight > 1.01 && <Mark reason={t.mark.weighted(r.weight)}>×{t.count(r.weight)}</Mark>}
        </span>
      ),
    },
    {
      key: 'duration', head: t.signal.duration, width: 'minmax(160px, 2fr)', align: 'end', sort: (r) => r.durationNs,
      cell: (r) => (
        <span className={css.duration}>
          <span className={`${css.bar} ${r.errors > 0 ? css.barBad : ''}`} style={{ width: `${(100 * r.durationNs) / longest}%` }} />
          <span>{duration(r.durationNs)}</span>
        </span>
      ),
    },
    { key: 'errors', head: t.signal.errors, width: '64px', align: 'end', sort: (r) => r.errors, cell: (r) => <span className={r.errors > 0 ? css.bad : 'dim'}>{t.count(r.errors)}</span> },
    { key: 'spans', head: t.traces.spans, width: '64px', align: 'end', sort: (r) => r.spans, cell: (r) => <span title={t.traces.matched(r.matched)}>{t.count(r.spans)}</span> },
    { key: 'services', head: t.traces.services, width: 'minmax(110px, 1fr)', sort: (r) => r.services.length, cell: (r) => <ServiceDots services={r.services} /> },
  ]
}

/** More than this are counted. */
const dotsShown = 8

function ServiceDots({ services }: { services: Trace['services'] }) {
  const t = useTexts()
  const text = services.map((s) => `${s.name}: ${t.common.spans(s.spans)}${s.errors > 0 ? `, ${t.common.errors(s.errors)}` : ''}`).join('\n')
  return (
    <span className={css.services} title={text}>
      <span className={css.serviceCount}>{t.count(services.length)}</span>
      <span className={css.dots}>
        {services.slice(0, dotsShown).map((s) => (
          <span key={s.name} className={`${css.dot} ${s.errors > 0 ? css.dotBad : ''}`} style={{ background: serviceColour(s.name) }} />
        ))}
      </span>
    </span>
  )
}

interface Group {
  service: string
  name: string
  traces: number
  failed: number
  durations: number[]
}

/** Traces of the same root, to find the operation that is slow or failing. */
export function groupByOperation(rows: readonly Trace[]): Group[] {
  const groups = new Map<string, Group>()
  for (const r of rows) {
    const key = `${r.service}\0${r.name}`
    let g = groups.get(key)
    if (!g) groups.set(key, (g = { service: r.service, name: r.name, traces: 0, failed: 0, durations: [] }))
    g.traces++
    if (r.errors > 0) g.failed++
    g.durations.push(r.durationNs)
  }
  for (const g of groups.values()) g.durations.sort((a, b) => a - b)
  return [...groups.values()].sort((a, b) => b.traces - a.traces)
}

const quantile = (sorted: readonly number[], q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? -1

function Operations({ rows, more }: { rows: Trace[]; more: boolean }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const groups = useMemo(() => groupByOperation(rows), [rows])
  const columns: Column<Group>[] = [
    { key: 'service', head: t.services.name, width: 'minmax(120px, 1fr)', sort: (g) => g.service, cell: (g) => <ServiceName name={g.service} link={false} /> },
    { key: 'name', head: t.service.operation, width: 'minmax(160px, 2fr)', sort: (g) => g.name, cell: (g) => g.name },
    { key: 'traces', head: t.traces.list, width: '96px', align: 'end', sort: (g) => g.traces, cell: (g) => t.count(g.traces) },
    { key: 'failed', head: t.signal.errorRate, width: '96px', align: 'end', sort: (g) => g.failed / g.traces, cell: (g) => <span className={g.failed > 0 ? css.bad : 'dim'}>{percent(g.failed / g.traces)}</span> },
    { key: 'p50', head: 'P50', width: '96px', align: 'end', sort: (g) => quantile(g.durations, 0.5), cell: (g) => duration(quantile(g.durations, 0.5)) },
    { key: 'p95', head: 'P95', width: '96px', align: 'end', sort: (g) => quantile(g.durations, 0.95), cell: (g) => duration(quantile(g.durations, 0.95)) },
    { key: 'max', head: t.trace.maximum, width: '96px', align: 'end', sort: (g) => g.durations.at(-1) ?? 0, cell: (g) => duration(g.durations.at(-1) ?? -1) },
  ]
  const open = (g: Group) => {
    const own = withCondition(withCondition(tryParse(url.q), { field: 'service.name', op: '=', value: g.service }), { field: 'name', op: '=', value: g.name })
    set({ q: formatFilter(own), view: undefined, sort: undefined })
  }
  return (
    <DataTable
      label={t.traces.grouped}
      rows={groups}
      columns={columns}
      rowKey={(g) => `${g.service}\0${g.name}`}
      sort={url.sort ? parseSort(url.sort, '') : undefined}
      onSort={(sort) => set({ sort }, { replace: true })}
      onOpen={open}
      virtual
      keys
      foot={
        more && (
          <p className={`dim ${css.listHead}`}>
            {t.traces.groupedFrom(rows.length)}
          </p>
        )
      }
    />
  )
}
