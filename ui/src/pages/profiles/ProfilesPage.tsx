import { useQuery } from '@tanstack/react-query'
import { useMemo } from 'react'
import { flame, type ProfileSeries, profileSeries } from '../../api/profiles'
import { Button } from '../../components/Button'
import { FilterBar } from '../../components/FilterBar'
import { Icon } from '../../components/Icon'
import { Menu } from '../../components/Menu'
import { Page } from '../../components/Page'
import { SidePanel } from '../../components/SidePanel'
import { Broken, Busy, NoMatch, Skeleton } from '../../components/States'
import { formatFilter, tryParse, withCondition } from '../../state/filter'
import { useTexts } from '../../state/texts'
import { type Search, useQuestion, useSetUrl, useUrl } from '../../state/url'
import { NoSamples, Nothing } from './Nothing'
import { Profile } from './Profile'
import css from './ProfilesPage.module.css'
import { SeriesList } from './SeriesList'
import { fromAnswer, isMoment } from './tree'
import { baseOf } from './versus'

/** What most people look for first. */
const firstType = 'cpu'

export default function ProfilesPage() {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const question = useQuestion()
  const { start, end } = question
  const list = useQuery(profileSeries(question))
  const series = useMemo(() => list.data?.series ?? [], [list.data])
  const service = serviceIn(url.q)
  const services = [...new Set(series.map((s) => s.service))]
  const types = typesOf(series)
  // Many services in one graph are looked at only when that was asked for.
  const overview = url.type === undefined && service === undefined && services.length > 1
  const type = url.type ?? (types.includes(firstType) ? firstType : types[0])
  return (
    <Page
      title={t.profiles.title}
      bar={<FilterBar signal="profiles" />}
      tools={series.length > 0 && <Pickers series={series} service={service} type={overview ? undefined : type} />}
      related={Boolean(service)}
      side={url.side && service && <SidePanel title={t.related.title} anchor={{ service, start, end }} onClose={() => set({ side: undefined })} />}
    >
      <Busy on={list.isFetching && !list.isPending} />
      {list.error ? (
        <Broken error={list.error} onRetry={() => void list.refetch()} />
      ) : list.isPending ? (
        <Skeleton lines={14} />
      ) : series.length === 0 ? (
        url.q ? <NoMatch title={t.profiles.noMatch} /> : <Nothing />
      ) : overview || type === undefined ? (
        <SeriesList series={series} />
      ) : (
        <Loaded type={type} series={series.filter((s) => s.type === type)} />
      )}
    </Page>
  )
}

export const serviceIn = (q: string | undefined): string | undefined => tryParse(q).find((c) => c.field === 'service.name' && c.op === '=')?.value

/** Another profile: what was selected in the last one is gone. */
export const elsewhere: Search = { frame: undefined, zoom: undefined, fn: undefined }

const typesOf = (series: readonly ProfileSeries[]): string[] => [...new Set(series.map((s) => s.type))]

function Pickers({ series, service, type }: { series: readonly ProfileSeries[]; service: string | undefined; type: string | undefined }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const { start, end } = useQuestion()
  // All services, whatever the filter says of the service.
  const rest = tryParse(url.q).filter((c) => c.field !== 'service.name')
  const all = useQuery(profileSeries({ start, end, filter: formatFilter(rest) }))
  const services = [...new Set((all.data?.series ?? series).map((s) => s.service))].sort()
  const called = (name: string | undefined) => (name === undefined ? t.profiles.allServices : name || t.common.unknown)
  const choose = (name: string | undefined) => {
    const q = formatFilter(name === undefined ? rest : withCondition(rest, { field: 'service.name', op: '=', value: name })) || undefined
    const known = (all.data?.series ?? []).some((s) => s.service === name && s.type === url.type)
    set({ ...elsewhere, q, type: name !== undefined && known ? url.type : undefined })
  }
  return (
    <div className={css.pickers}>
      <Menu
        label={t.services.name}
        trigger={
          <Button aria-label={t.profiles.serviceIs(called(service))}>
            {called(service)}
            <Icon name="down" size={12} />
          </Button>
        }
        items={[
          { text: t.profiles.allServices, checked: service === undefined, onSelect: () => choose(undefined) },
          ...services.map((name) => ({ text: called(name), checked: name === service, onSelect: () => choose(name) })),
        ]}
      />
      <Menu
        label={t.profiles.type}
        trigger={
          <Button aria-label={t.profiles.typeIs(type === undefined ? t.common.all : (t.profiles.types[type] ?? type))}>
            {type === undefined ? t.common.all : (t.profiles.types[type] ?? type)}
            <Icon name="down" size={12} />
          </Button>
        }
        items={typesOf(series).map((name) => ({ text: t.profiles.types[name] ?? name, checked: name === type, onSelect: () => set({ ...elsewhere, type: name }) }))}
      />
    </div>
  )
}

function Loaded({ type, series }: { type: string; series: readonly ProfileSeries[] }) {
  const url = useUrl()
  const question = useQuestion()
  const { vs, vsq, q } = url
  const base = useMemo(() => baseOf({ vs, vsq, q }, question), [vs, vsq, q, question])
  const { data, error, refetch, isPending, isFetching } = useQuery(flame(question, type, base))
  const tree = useMemo(() => data && fromAnswer(data, isMoment(type)), [data, type])
  if (error) return <Broken error={error} onRetry={() => void refetch()} />
  if (isPending || !tree || !data) return <Skeleton lines={14} />
  if (tree.total === 0 && tree.baseTotal === 0) return <NoSamples type={type} />
  return (
    <>
      <Busy on={isFetching} />
      <Profile tree={tree} unit={data.unit} truncated={data.truncated} profiles={data.profiles} type={type} series={series} base={base} />
    </>
  )
}
