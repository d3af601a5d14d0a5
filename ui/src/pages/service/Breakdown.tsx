import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import type { Schemas } from '../../api/client'
import { fields } from '../../api/queries'
import { type Column, DataTable } from '../../components/DataTable'
import { type Condition, formatFilter } from '../../state/filter'
import { useTexts } from '../../state/texts'
import { keepRange, useQuestion } from '../../state/url'
import { middle } from '../../state/units'
import { tracesOf } from '../services/columns'
import css from './ServicePage.module.css'

type Detail = Schemas['ServiceDetail']

export function Errors({ data }: { data: Detail }) {
  const t = useTexts()
  const navigate = useNavigate()
  if (data.errors.length === 0) return <p className={`dim ${css.pad}`}>{t.service.noErrors}</p>
  const columns: Column<Detail['errors'][number]>[] = [
    { key: 'type', head: t.service.errorType, width: 'minmax(120px, 2fr)', cell: (e) => <span className={css.bad} title={e.type}>{e.type || t.common.unknown}</span> },
    { key: 'operation', head: t.service.operation, width: 'minmax(100px, 1fr)', cell: (e) => e.operation },
    { key: 'count', head: t.service.count, width: '64px', align: 'end', cell: (e) => t.count(e.count) },
    {
      key: 'trace', head: t.service.newest, width: '120px', align: 'end',
      cell: (e) => (
        <Link to="/traces/$traceId" params={{ traceId: e.traceId }} search={keepRange} className="mono">
          {middle(e.traceId, 5)}
        </Link>
      ),
    },
  ]
  return (
    <DataTable
      label={t.service.errorKinds}
      rows={data.errors}
      columns={columns}
      rowKey={(e) => `${e.type}\0${e.operation}`}
      onOpen={(e) =>
        void navigate({
          to: '/traces',
          search: tracesOf([
            { field: 'service.name', op: '=', value: data.name },
            { field: 'name', op: '=', value: e.operation },
            { field: 'status', op: '=', value: 'error' },
          ]),
        })
      }
    />
  )
}

const instanceFields = ['resource.service.instance.id', 'resource.host.name', 'resource.k8s.pod.name']

export function Instances({ data }: { data: Detail }) {
  const t = useTexts()
  const navigate = useNavigate()
  const { start, end } = useQuestion()
  const own: Condition[] = [{ field: 'service.name', op: '=', value: data.name }]
  // The server takes the first of these that the service has.
  const { data: known } = useQuery(fields({ start, end, filter: formatFilter(own) }, 'traces'))
  const field = instanceFields.find((f) => known?.fields.some((k) => k.value === f))
  if (data.instances.length === 0) return <p className={`dim ${css.pad}`}>{t.service.noInstances}</p>
  const most = Math.max(...data.instances.map((i) => i.count))
  return (
    <DataTable
      label={t.service.instances}
      rows={data.instances}
      rowKey={(i) => i.value}
      columns={[
        { key: 'value', head: t.service.instances, width: 'minmax(200px, 2fr)', cell: (i) => <span className="mono">{i.value}</span> },
        { key: 'bar', head: t.logs.share, quiet: true, width: 'minmax(80px, 1fr)', cell: (i) => <span className={css.bar} style={{ width: `${(100 * i.count) / most}%` }} /> },
        { key: 'count', head: t.service.spans, width: '96px', align: 'end', cell: (i) => t.count(i.count) },
      ]}
      onOpen={field ? (i) => void navigate({ to: '/traces', search: tracesOf([...own, { field, op: '=', value: i.value }]) }) : undefined}
    />
  )
}
