import { useMemo } from 'react'
import type { ProfileSeries } from '../../api/profiles'
import { type Column, DataTable } from '../../components/DataTable'
import { ServiceName } from '../../components/Mark'
import { Ago } from '../../components/Time'
import { formatFilter, tryParse, withCondition } from '../../state/filter'
import { parseTime } from '../../state/range'
import { type Texts, useTexts } from '../../state/texts'
import { parseSort, useSetUrl, useUrl } from '../../state/url'
import { valueFormat } from './labels'
import { isMoment } from './tree'

/** Which profiles there are; a row opens one. */
export function SeriesList({ series }: { series: readonly ProfileSeries[] }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const columns = useMemo(() => columnsOf(t), [t])
  return (
    <DataTable
      label={t.profiles.title}
      rows={series}
      columns={columns}
      rowKey={(s) => `${s.service}\0${s.type}`}
      sort={parseSort(url.sort, '-total')}
      onSort={(sort) => set({ sort }, { replace: true })}
      onOpen={(s) => set({ q: formatFilter(withCondition(tryParse(url.q), { field: 'service.name', op: '=', value: s.service })), type: s.type, sort: undefined })}
      virtual
      keys
    />
  )
}

/** Versions and instances that are named; the others are counted. */
const named = 3

function few(t: Texts, names: readonly string[]): string {
  return t.list([...names.slice(0, named), ...(names.length > named ? [t.profiles.others(names.length - named)] : [])])
}

function columnsOf(t: Texts): Column<ProfileSeries>[] {
  const text = (s: string) => <span title={s}>{s || <span className="dim">–</span>}</span>
  return [
    { key: 'service', head: t.services.name, width: 'minmax(140px, 2fr)', sort: (s) => s.service, cell: (s) => (s.service ? <ServiceName name={s.service} link={false} /> : <span className="dim">{t.common.unknown}</span>) },
    { key: 'type', head: t.profiles.type, width: '140px', sort: (s) => t.profiles.types[s.type] ?? s.type, cell: (s) => t.profiles.types[s.type] ?? s.type },
    { key: 'total', head: t.profiles.total, width: '160px', align: 'end', sort: (s) => s.total, cell: (s) => (isMoment(s.type) ? t.profiles.onAverage(valueFormat(s.unit)(s.total / Math.max(1, s.profiles))) : valueFormat(s.unit)(s.total)) },
    { key: 'profiles', head: t.profiles.title, width: '96px', align: 'end', sort: (s) => s.profiles, cell: (s) => t.count(s.profiles) },
    { key: 'last', head: t.profiles.newest, width: '140px', sort: (s) => -parseTime(s.last), cell: (s) => <Ago at={s.last} /> },
    { key: 'versions', head: t.profiles.versions, width: 'minmax(100px, 1fr)', cell: (s) => text(few(t, s.versions)) },
    { key: 'instances', head: t.profiles.instances, width: 'minmax(120px, 1fr)', cell: (s) => text(few(t, s.instances)) },
  ]
}
