import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useMemo } from 'react'
import type { Schemas } from '../../api/client'
import { graph, services } from '../../api/queries'
import { ServiceMap } from '../../components/map/ServiceMap'
import { Page } from '../../components/Page'
import { Broken, Busy, NothingYet, Skeleton } from '../../components/States'
import { useTexts } from '../../state/texts'
import { keepRange, type Search, useQuestion } from '../../state/url'
import { duration, percent, rate } from '../../state/units'
import { Errors } from './Errors'
import { Moved } from './Moved'
import css from './OverviewPage.module.css'

type Service = Schemas['Service']

/** What changed, what fails, and who calls whom, on one screen. */
export default function OverviewPage() {
  const t = useTexts()
  const { start, end } = useQuestion()
  const now = useQuery(services({ start, end }))
  return (
    <Page title={t.overview.title}>
      <Busy on={now.isFetching && !now.isPending} />
      {now.error ? (
        <Broken error={now.error} onRetry={() => void now.refetch()} />
      ) : now.isPending ? (
        <Skeleton lines={14} />
      ) : now.data.services.length === 0 ? (
        <NothingYet />
      ) : (
        <div className={css.grid}>
          <Tiles services={now.data.services} />
          <div className={css.left}>
            <Moved now={now.data.services} start={start} end={end} />
            <Errors start={start} end={end} />
          </div>
          <div className={css.right}>
            <Picture start={start} end={end} />
          </div>
        </div>
      )}
    </Page>
  )
}

function Tiles({ services: list }: { services: readonly Service[] }) {
  const t = useTexts()
  const sums = useMemo(() => {
    const total = list.reduce((n, s) => n + s.count, 0)
    const failed = list.reduce((n, s) => n + s.count * s.errorRate, 0)
    return {
      rate: list.reduce((n, s) => n + s.rate, 0),
      failed: total > 0 ? failed / total : 0,
      slowest: list.reduce<Service | undefined>((a, s) => (a && a.p95 >= s.p95 ? a : s), undefined),
    }
  }, [list])
  const failing = (last: Search): Search => ({ ...keepRange(last), q: 'status = error' })
  return (
    <div className={css.tiles}>
      <Link to="/services" search={keepRange} className={css.tile}>
        <h2>{t.overview.reporting}</h2>
        <p>{t.count(list.length)}</p>
      </Link>
      <Link to="/traces" search={keepRange} className={css.tile}>
        <h2>{t.signal.rate}</h2>
        <p>
          {rate(sums.rate)} <small>{t.units.perSecond}</small>
        </p>
      </Link>
      <Link to="/traces" search={failing} className={css.tile}>
        <h2>{t.overview.failed}</h2>
        <p className={sums.failed >= 0.01 ? css.bad : undefined}>{percent(sums.failed)}</p>
      </Link>
      {sums.slowest && (
        <Link to="/services/$service" params={{ service: sums.slowest.name }} search={keepRange} className={css.tile}>
          <h2>{t.overview.slowest}</h2>
          <p>
            {duration(sums.slowest.p95)} <small>{sums.slowest.name}</small>
          </p>
        </Link>
      )}
    </div>
  )
}

function Picture({ start, end }: { start: number; end: number }) {
  const t = useTexts()
  const navigate = useNavigate()
  const { data, error, refetch, isPending } = useQuery(graph({ start, end }))
  return (
    <>
      <div className={css.head}>
        <h2>{t.overview.map}</h2>
        <Link to="/services" search={(last) => ({ ...keepRange(last), view: 'map' })}>
          {t.common.all}
        </Link>
      </div>
      {error ? (
        <Broken compact error={error} onRetry={() => void refetch()} />
      ) : isPending ? (
        <Skeleton />
      ) : (
        <ServiceMap graph={data} still onChoose={(focus) => focus && void navigate({ to: '/services', search: (last) => ({ ...keepRange(last), view: 'map', focus }) })} />
      )}
    </>
  )
}
