import { useInfiniteQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useMemo } from 'react'
import { logs } from '../../api/queries'
import { Severity } from '../../components/Mark'
import { Broken, Empty, Skeleton } from '../../components/States'
import { Time } from '../../components/Time'
import type { Schemas } from '../../api/client'
import { parseTime } from '../../state/range'
import { useTexts } from '../../state/texts'
import { duration } from '../../state/units'
import { type Trace } from './model'
import css from './TracePage.module.css'

type Log = Schemas['Log']

/** Records may carry a time slightly outside of their span. */
const slackMs = 60_000
const mostLogs = 1000

/** The records that carry the trace's id, oldest first. */
export function useTraceLogs(trace: Trace | undefined) {
  const start = trace ? parseTime(trace.start) : 0
  const end = trace ? start + trace.durationNs / 1e6 : 0
  const query = useInfiniteQuery({
    ...logs({ start: start - slackMs, end: end + slackMs, filter: `trace_id = ${trace?.traceId}` }, mostLogs),
    enabled: trace !== undefined && trace.logs > 0,
  })
  const records = useMemo(() => query.data?.pages.flatMap((p) => p.logs).sort((a, b) => parseTime(a.time) - parseTime(b.time)) ?? [], [query.data])
  return { records, error: query.error, isPending: query.isLoading, refetch: query.refetch }
}

/** Records with their time after the start of the trace. */
export function LogLines({ records, start }: { records: readonly Log[]; start: number }) {
  return (
    <>
      {records.map((l) => (
        <Link key={l.id} to="/logs" search={{ from: String(Math.floor(parseTime(l.time)) - slackMs), to: String(Math.ceil(parseTime(l.time)) + slackMs), around: l.id, log: l.id }} className={css.log}>
          <span className="dim" title={l.time}>
            +{duration(Math.max(0, (parseTime(l.time) - start) * 1e6))}
          </span>
          <Severity name={l.severity} />
          <span>{l.body}</span>
        </Link>
      ))}
    </>
  )
}

/** All records of the trace as a view of its own. */
export function TraceLogs({ trace, logs: { records, error, isPending, refetch } }: { trace: Trace; logs: ReturnType<typeof useTraceLogs> }) {
  const t = useTexts()
  if (error) return <Broken error={error} onRetry={() => void refetch()} />
  if (isPending) return <Skeleton />
  if (records.length === 0) return <Empty title={t.trace.noTraceLogs} />
  const start = parseTime(trace.start)
  return (
    <div className={css.logs} tabIndex={0}>
      {records.map((l) => (
        <Link key={l.id} to="/logs" search={{ q: `trace_id = ${trace.traceId}`, from: String(Math.floor(start) - slackMs), to: String(Math.ceil(start + trace.durationNs / 1e6) + slackMs), log: l.id }} className={css.logLine}>
          <span className="dim">+{duration(Math.max(0, (parseTime(l.time) - start) * 1e6))}</span>
          <Time at={l.time} form="clock" />
          <Severity name={l.severity} />
          <span className="cut dim">{l.service}</span>
          <span className="mono cut">{l.body}</span>
        </Link>
      ))}
    </div>
  )
}
