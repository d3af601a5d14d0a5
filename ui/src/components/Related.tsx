// The other signals around what is selected, with counts, so that an empty one
// is not opened.

import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import type { Schemas } from '../api/client'
import { type Anchor, related } from '../api/queries'
import { tryParse } from '../state/filter'
import { parseTime } from '../state/range'
import { type Texts, useTexts } from '../state/texts'
import type { Search } from '../state/url'
import { Icon, type IconName } from './Icon'
import css from './SidePanel.module.css'
import { Broken, Skeleton } from './States'

type Item = Schemas['RelatedItem']

const icons: Record<Item['kind'], IconName> = {
  trace: 'traces', traces: 'traces', logs: 'logs', errors: 'error', metrics: 'metrics', profiles: 'profiles', service: 'services',
  network: 'kernel', sockets: 'socket', oom: 'error', audit: 'shield',
}

export function Related({ anchor }: { anchor: Anchor }) {
  const t = useTexts()
  const { data, error, refetch, isPending } = useQuery(related(anchor))
  return (
    <section className={css.related} aria-label={t.related.title}>
      <h3>{t.related.title}</h3>
      {error ? (
        <Broken compact error={error} onRetry={() => void refetch()} />
      ) : isPending ? (
        <Skeleton lines={2} />
      ) : (
        <div className={css.items}>
          {data.items.map((i, k) => (
            <RelatedItem key={k} item={i} anchor={anchor} />
          ))}
        </div>
      )}
    </section>
  )
}

function RelatedItem({ item, anchor }: { item: Item; anchor: Anchor }) {
  const t = useTexts()
  const name = nameOf(t, item)
  const bad = item.level === 'bad' || (item.count > 0 && (item.kind === 'errors' || item.kind === 'oom'))
  const inner = (
    <>
      <Icon name={item.level === 'ok' ? icons[item.kind] : 'error'} />
      <span className="cut">{name}</span>
      <span className={`${css.count} ${bad ? css.errors : item.level === 'warning' ? css.warning : ''}`}>
        {item.count === 0 ? t.related.empty : t.count(item.count)}
        {item.level !== 'ok' && <span className="hidden-text"> {t.kernel.level[item.level]}</span>}
      </span>
    </>
  )
  if (item.count === 0) return <span className={`${css.item} ${css.none}`} title={name}>{inner}</span>
  const range: Search = { from: String(Math.floor(parseTime(item.start))), to: String(Math.ceil(parseTime(item.end))) }
  const shared = { className: css.item, title: [name, item.filter || item.query || item.traceId].filter(Boolean).join('\n') }
  switch (item.kind) {
    case 'trace':
      return (
        <Link {...shared} to="/traces/$traceId" params={{ traceId: item.traceId || anchor.traceId || '' }} search={{ ...range, near: range.from, span: anchor.spanId }}>
          {inner}
        </Link>
      )
    case 'traces':
    case 'logs':
    case 'errors':
      return (
        <Link {...shared} to={aboutLogs(item) ? '/logs' : '/traces'} search={{ ...range, q: item.filter || undefined, kernel: aboutLogs(item) ? '1' : undefined }}>
          {inner}
        </Link>
      )
    case 'profiles':
      return (
        <Link {...shared} to="/profiles" search={{ ...range, q: item.filter || undefined, type: item.type || undefined }}>
          {inner}
        </Link>
      )
    case 'sockets':
      return (
        <Link {...shared} to="/logs" search={{ ...range, q: item.filter, kernel: '1' }}>
          {inner}
        </Link>
      )
    case 'network':
    case 'oom':
    case 'audit':
      return (
        <Link {...shared} to={kernelPages[item.kind]} search={{ ...range, q: item.filter }}>
          {inner}
        </Link>
      )
    case 'metrics':
      return (
        <Link {...shared} to="/metrics" search={{ ...range, expr: item.query }}>
          {inner}
        </Link>
      )
    case 'service':
      return (
        <Link {...shared} to="/services/$service" params={{ service: serviceOf(item) ?? anchor.service ?? '' }} search={range}>
          {inner}
        </Link>
      )
  }
}

const kernelPages = { network: '/kernel', oom: '/kernel/oom', audit: '/kernel/audit' } as const

function nameOf(t: Texts, item: Item): string {
  const type = item.type && (t.profiles.types[item.type] ?? item.type)
  return (type && t.related.profiles[item.title]?.(type)) || (t.related.titles[item.title] ?? t.related.kind[item.kind] ?? item.title)
}

/** Errors are failed spans or loud records; only records have a severity. */
function aboutLogs(item: Item): boolean {
  return item.kind === 'logs' || (item.kind === 'errors' && tryParse(item.filter).some((c) => c.field === 'severity'))
}

function serviceOf(item: Item): string | undefined {
  return tryParse(item.filter).find((c) => c.field === 'service.name' && c.op === '=')?.value
}
