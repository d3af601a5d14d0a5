import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useMemo } from 'react'
import type { Schemas } from '../../api/client'
import { graph, services } from '../../api/queries'
import { IconButton } from '../../components/Button'
import { type Column, DataTable } from '../../components/DataTable'
import { ServiceName } from '../../components/Mark'
import { ServiceMap } from '../../components/map/ServiceMap'
import { Page } from '../../components/Page'
import { Broken, Busy, Empty, NothingYet, Skeleton } from '../../components/States'
import { Views } from '../../components/Views'
import type { Condition } from '../../state/filter'
import { useKeys } from '../../state/keys'
import { type Texts, useTexts } from '../../state/texts'
import { keepRange, parseSort, useQuestion, useSetUrl, useUrl } from '../../state/url'
import { redColumns, tracesOf } from './columns'
import { NodePanel } from './NodePanel'
import css from './ServicesPage.module.css'

type Service = Schemas['Service']

/** Order before any column is chosen: most failed requests, then most time spent. */
export function byHurt(a: Service, b: Service): number {
  const failed = b.rate * b.errorRate - a.rate * a.errorRate
  return Math.abs(failed) > 1e-9 ? failed : b.rate * Math.max(0, b.p95) - a.rate * Math.max(0, a.p95)
}

const ofService = (s: { name: string }): Condition[] => [{ field: 'service.name', op: '=', value: s.name }]

export default function ServicesPage() {
  const t = useTexts()
  const url = useUrl()
  const view = url.view === 'map' ? 'map' : 'table'
  return (
    <Page
      title={t.services.title}
      side={view === 'map' && url.focus && <NodePanel name={url.focus} />}
      tools={
        <div className={css.tools}>
          <Views large label={t.services.title} value={view} views={[{ value: 'table', text: t.services.table, icon: 'logs' }, { value: 'map', text: t.services.map, icon: 'services' }]} patch={{ focus: undefined }} />
          {view === 'table' && <Find />}
        </div>
      }
    >
      {view === 'map' ? <MapView /> : <TableView />}
    </Page>
  )
}

function Find() {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  useKeys({ '/': () => document.getElementById('find-service')?.focus() })
  return (
    <input
      id="find-service"
      type="search"
      className={css.find}
      placeholder={t.services.find}
      aria-label={t.services.find}
      value={url.find ?? ''}
      onChange={(e) => set({ find: e.target.value || undefined }, { replace: true })}
      onKeyDown={(e) => e.key === 'Escape' && e.currentTarget.blur()}
    />
  )
}

function TableView() {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const navigate = useNavigate()
  const { start, end } = useQuestion()
  const { data, error, refetch, isPending, isFetching } = useQuery(services({ start, end }))
  const columns = useMemo(() => serviceColumns(t), [t])
  const rows = useMemo(() => {
    const words = url.find?.toLowerCase() ?? ''
    return (data?.services ?? []).filter((s) => s.name.toLowerCase().includes(words)).sort(byHurt)
  }, [data, url.find])
  if (error) return <Broken error={error} onRetry={() => void refetch()} />
  if (isPending) return <Skeleton lines={12} />
  if (data.services.length === 0) return <NothingYet />
  return (
    <>
      <Busy on={isFetching} />
      <DataTable
        label={t.services.title}
        rows={rows}
        columns={columns}
        rowKey={(s) => s.name}
        sort={url.sort ? parseSort(url.sort, '') : undefined}
        onSort={(sort) => set({ sort })}
        onOpen={(s) => void navigate({ to: '/services/$service', params: { service: s.name }, search: keepRange })}
        virtual
        keys
        foot={rows.length === 0 && <Empty title={t.services.noneFound(url.find ?? '')} />}
      />
    </>
  )
}

function serviceColumns(t: Texts): Column<Service>[] {
  return [
    { key: 'name', head: t.services.name, width: 'minmax(180px, 2fr)', cell: (s) => <ServiceName name={s.name} />, sort: (s) => s.name },
    ...redColumns(t, ofService),
    {
      key: 'links', head: t.related.title, quiet: true, width: '56px', align: 'end',
      cell: (s) => (
        <span className={css.links}>
          <Link to="/traces" search={tracesOf(ofService(s))} tabIndex={-1}>
            <IconButton small icon="traces" label={`${t.nav.traces}: ${s.name}`} />
          </Link>
          <Link to="/logs" search={tracesOf(ofService(s))} tabIndex={-1}>
            <IconButton small icon="logs" label={`${t.nav.logs}: ${s.name}`} />
          </Link>
        </span>
      ),
    },
  ]
}

function MapView() {
  const url = useUrl()
  const set = useSetUrl()
  const { start, end } = useQuestion()
  const { data, error, refetch, isPending, isFetching } = useQuery(graph({ start, end }, url.focus))
  if (error) return <Broken error={error} onRetry={() => void refetch()} />
  if (isPending) return <Skeleton />
  if (data.nodes.length === 0 && !url.focus) return <NothingYet />
  return (
    <>
      <Busy on={isFetching} />
      <ServiceMap graph={data} chosen={url.focus} onChoose={(focus) => set({ focus })} />
    </>
  )
}
