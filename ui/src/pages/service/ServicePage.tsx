import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams } from '@tanstack/react-router'
import type { Schemas } from '../../api/client'
import { profileSeries } from '../../api/profiles'
import { service } from '../../api/queries'
import { Button } from '../../components/Button'
import { type Column, DataTable } from '../../components/DataTable'
import { ServiceName } from '../../components/Mark'
import { Crumb, Page } from '../../components/Page'
import { SidePanel } from '../../components/SidePanel'
import { Broken, Busy, NoMatch, Skeleton } from '../../components/States'
import { type Condition, formatFilter } from '../../state/filter'
import { useTexts } from '../../state/texts'
import { keepRange, parseSort, useQuestion, useSetUrl, useUrl } from '../../state/url'
import { redColumns, tracesOf } from '../services/columns'
import { Edges } from '../services/NodePanel'
import { Errors, Instances } from './Breakdown'
import { Golden } from './Golden'
import { Kernel } from './Kernel'
import { Process } from './Process'
import css from './ServicePage.module.css'

type Detail = Schemas['ServiceDetail']
type Operation = Schemas['Operation']

export default function ServicePage() {
  const t = useTexts()
  const { service: name = '' } = useParams({ strict: false })
  const { start, end } = useQuestion()
  const url = useUrl()
  const set = useSetUrl()
  const { data, error, refetch, isPending, isFetching } = useQuery(service({ start, end }, name))
  return (
    <Page
      title={name}
      heading={
        <>
          <Link to="/services" search={keepRange}>
            <Crumb>{t.services.title} /</Crumb>
          </Link>
          <ServiceName name={name} link={false} />
        </>
      }
      tools={
        <div className={css.tools}>
          <Link to="/traces" search={tracesOf(own(name))} tabIndex={-1}>
            <Button icon="traces">{t.nav.traces}</Button>
          </Link>
          <Link to="/logs" search={tracesOf(own(name))} tabIndex={-1}>
            <Button icon="logs">{t.nav.logs}</Button>
          </Link>
          <Profiles name={name} />
        </div>
      }
      related
      side={url.side && <SidePanel title={t.related.title} anchor={{ service: name, start, end }} onClose={() => set({ side: undefined })} />}
    >
      <Busy on={isFetching && !isPending} />
      {error ? (
        <Broken error={error} onRetry={() => void refetch()} />
      ) : isPending ? (
        <Skeleton lines={14} />
      ) : data.operations.length === 0 ? (
        <>
          <NoMatch title={t.service.notFound(name)} />
          {/* The kernel may know a service that sends no telemetry. */}
          <Kernel name={name} alone />
        </>
      ) : (
        <Body data={data} />
      )}
    </Page>
  )
}

/** How many profiles there are, and the way to them; nothing where there are none. */
function Profiles({ name }: { name: string }) {
  const t = useTexts()
  const { start, end } = useQuestion()
  const { data } = useQuery(profileSeries({ start, end, filter: formatFilter(own(name)) }))
  const count = data?.series.reduce((n, s) => n + s.profiles, 0) ?? 0
  return count === 0 ? null : (
    <Link to="/profiles" search={tracesOf(own(name))} tabIndex={-1}>
      <Button icon="profiles">{t.profiles.profiles(count)}</Button>
    </Link>
  )
}

const own = (name: string): Condition[] => [{ field: 'service.name', op: '=', value: name }]

function Body({ data }: { data: Detail }) {
  const t = useTexts()
  return (
    <div className={css.body}>
      <Golden data={data} />
      <section className={css.section}>
        <h2>{t.service.operations}</h2>
        <Operations data={data} />
      </section>
      <div className={css.two}>
        <section className={css.section}>
          <h2>{t.service.errorKinds}</h2>
          <Errors data={data} />
        </section>
        <section className={`${css.section} ${css.pad}`}>
          <Edges title={t.service.upstream} edges={data.upstream} other={(e) => e.from} empty={t.service.nobody} />
          <Edges title={t.service.downstream} edges={data.downstream} other={(e) => e.to} empty={t.service.nothing} />
        </section>
      </div>
      <Process name={data.name} />
      <Kernel name={data.name} />
      <section className={css.section}>
        <h2>{t.service.instances}</h2>
        <Instances data={data} />
      </section>
    </div>
  )
}

function Operations({ data }: { data: Detail }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const navigate = useNavigate()
  const conditions = (o: Operation): Condition[] => [...own(data.name), { field: 'name', op: '=', value: o.name }, { field: 'kind', op: '=', value: o.kind }]
  const columns: Column<Operation>[] = [
    { key: 'name', head: t.service.operation, width: 'minmax(160px, 2fr)', cell: (o) => <span title={o.name}>{o.name}</span>, sort: (o) => o.name },
    { key: 'kind', head: t.service.kind, width: '72px', cell: (o) => <span className="dim">{t.trace.kind[o.kind]}</span>, sort: (o) => o.kind },
    ...redColumns(t, conditions),
  ]
  return (
    <DataTable
      label={t.service.operations}
      rows={data.operations}
      columns={columns}
      rowKey={(o) => `${o.kind}\0${o.name}`}
      sort={url.sort ? parseSort(url.sort, '') : undefined}
      onSort={(sort) => set({ sort }, { replace: true })}
      onOpen={(o) => void navigate({ to: '/traces', search: tracesOf(conditions(o)) })}
      keys
    />
  )
}
