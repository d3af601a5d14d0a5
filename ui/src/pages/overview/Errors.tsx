import { useInfiniteQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { logs, traces } from '../../api/queries'
import { ServiceName } from '../../components/Mark'
import { Broken, Skeleton } from '../../components/States'
import { Time } from '../../components/Time'
import { parseTime } from '../../state/range'
import { useTexts } from '../../state/texts'
import { keepRange, type Search } from '../../state/url'
import css from './OverviewPage.module.css'

const mostShown = 12

interface Failure {
  key: string
  at: number
  service: string
  text: string
  link: { to: '/traces/$traceId'; params: { traceId: string }; search: (last: Search) => Search } | { to: '/logs'; search: (last: Search) => Search }
}

/** Failed traces and error records, the newest first. */
export function Errors({ start, end }: { start: number; end: number }) {
  const t = useTexts()
  const failed = useInfiniteQuery(traces({ start, end, filter: 'status = error' }, mostShown))
  const loud = useInfiniteQuery(logs({ start, end, filter: 'severity >= error' }, mostShown))
  const list: Failure[] = [
    ...(failed.data?.pages[0]?.traces ?? []).map((r): Failure => ({
      key: r.traceId, at: parseTime(r.start), service: r.services.find((s) => s.errors > 0)?.name ?? r.service, text: r.name,
      link: { to: '/traces/$traceId', params: { traceId: r.traceId }, search: (last) => ({ ...keepRange(last), near: String(Math.round(parseTime(r.start))) }) },
    })),
    ...(loud.data?.pages[0]?.logs ?? []).map((l): Failure => ({
      key: l.id, at: parseTime(l.time), service: l.service, text: l.body,
      link: { to: '/logs', search: (last) => ({ ...keepRange(last), q: 'severity >= error', log: l.id }) },
    })),
  ].sort((a, b) => b.at - a.at)
  const error = failed.error ?? loud.error
  return (
    <section aria-label={t.overview.errors}>
      <div className={css.head}>
        <h2>{t.overview.errors}</h2>
        <Link to="/logs" search={(last) => ({ ...keepRange(last), q: 'severity >= error' })}>
          {t.nav.logs}
        </Link>
      </div>
      {error ? (
        <Broken
          compact
          error={error}
          onRetry={() => {
            void failed.refetch()
            void loud.refetch()
          }}
        />
      ) : failed.isPending || loud.isPending ? (
        <Skeleton lines={6} />
      ) : list.length === 0 ? (
        <p className={css.note}>{t.overview.noErrors}</p>
      ) : (
        list.slice(0, mostShown).map((f) => (
          <Link key={f.key} {...f.link} className={`${css.row} ${css.error}`}>
            <span className="dim">
              <Time at={f.at} form="second" />
            </span>
            <ServiceName name={f.service} link={false} />
            <span className="cut">{f.text.split('\n')[0]!.slice(0, 200)}</span>
          </Link>
        ))
      )}
    </section>
  )
}
