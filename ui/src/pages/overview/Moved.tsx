import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import type { Schemas } from '../../api/client'
import { services } from '../../api/queries'
import { Icon, type IconName } from '../../components/Icon'
import { ServiceName } from '../../components/Mark'
import { Broken, Skeleton } from '../../components/States'
import { type Texts, useTexts } from '../../state/texts'
import { keepRange } from '../../state/url'
import { duration, percent, rate } from '../../state/units'
import { type Movement, moved } from './moved'
import css from './OverviewPage.module.css'

/** Rows that fit beside the errors on one screen. */
const mostShown = 9

export function Moved({ now, start, end }: { now: readonly Schemas['Service'][]; start: number; end: number }) {
  const t = useTexts()
  const width = end - start
  const before = useQuery(services({ start: start - width, end: start }))
  const known = before.data?.services.some((s) => s.stored > 0)
  const list = before.data && known ? moved(before.data.services, now) : []
  return (
    <section aria-label={t.overview.moved}>
      <div className={css.head}>
        <h2>{t.overview.moved}</h2>
        <span className="dim">{t.overview.movedHint(t.time.span(width))}</span>
      </div>
      {before.error ? (
        <Broken compact error={before.error} onRetry={() => void before.refetch()} />
      ) : before.isPending ? (
        <Skeleton lines={4} />
      ) : !known ? (
        <p className={css.note}>{t.overview.noBefore}</p>
      ) : list.length === 0 ? (
        <p className={css.note}>{t.overview.stillHint}</p>
      ) : (
        list.slice(0, mostShown).map((m) => <Row key={`${m.service} ${m.kind}`} m={m} />)
      )}
    </section>
  )
}

const icons: Record<Movement['sense'], IconName> = { worse: 'error', better: 'check', changed: 'metrics' }

function Row({ m }: { m: Movement }) {
  const t = useTexts()
  return (
    <Link to="/services/$service" params={{ service: m.service }} search={keepRange} className={css.row}>
      <span className={css[m.sense]}>
        <Icon name={icons[m.sense]} size={14} />
      </span>
      <ServiceName name={m.service} link={false} />
      <span className="cut">{describe(m, t)}</span>
      <span className={css[m.sense]}>{t.overview[m.sense]}</span>
    </Link>
  )
}

function describe(m: Movement, t: Texts): string {
  switch (m.kind) {
    case 'errors': return t.overview.errorRateTo(percent(m.before), percent(m.after))
    case 'latency': return t.overview.p95To(duration(m.before), duration(m.after))
    case 'rate': return t.overview.rateTo(rate(m.before), rate(m.after))
    case 'appeared': return t.overview.appeared
    case 'vanished': return t.overview.vanished
  }
}
