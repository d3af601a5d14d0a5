import { useQuery } from '@tanstack/react-query'
import type { Schemas } from '../../api/client'
import { logPatterns, type Question } from '../../api/queries'
import { type Column, DataTable } from '../../components/DataTable'
import { Severity } from '../../components/Mark'
import { Broken, Busy, NoMatch, Skeleton } from '../../components/States'
import type { Condition } from '../../state/filter'
import { useTexts } from '../../state/texts'
import { percent } from '../../state/units'
import { hole, patternRegExp } from './record'
import css from './LogsPage.module.css'

type Pattern = Schemas['Pattern']

/** Records by the shape of their body; a row shows the records of the shape. */
export function Patterns({ question, onFilter }: { question: Question; onFilter: (c: Condition) => void }) {
  const t = useTexts()
  const { data, error, refetch, isPending, isFetching } = useQuery(logPatterns(question))
  if (error) return <Broken error={error} onRetry={() => void refetch()} />
  if (isPending) return <Skeleton lines={10} />
  if (data.patterns.length === 0) return <NoMatch />
  const most = Math.max(...data.patterns.map((p) => p.count))
  const columns: Column<Pattern>[] = [
    { key: 'count', head: t.service.count, width: '72px', align: 'end', cell: (p) => t.count(p.count) },
    {
      key: 'share', head: t.logs.share, width: '120px',
      cell: (p) => (
        <>
          <span className={css.bar} style={{ width: (64 * p.count) / most }} /> <span className="dim">{percent(p.count / Math.max(1, data.sampled))}</span>
        </>
      ),
    },
    { key: 'severity', head: t.logs.severity, width: '80px', cell: (p) => <Severity name={p.severity} /> },
    { key: 'pattern', head: t.logs.pattern, width: 'minmax(200px, 1fr)', cell: (p) => <PatternText text={p.pattern} /> },
  ]
  return (
    <>
      <Busy on={isFetching} />
      <DataTable
        label={t.logs.patterns}
        rows={data.patterns}
        columns={columns}
        rowKey={(p) => `${p.severity}\0${p.pattern}`}
        onOpen={(p) => onFilter({ field: 'body', op: '=~', value: patternRegExp(p.pattern) })}
        virtual
        keys
        foot={<p className={css.note}>{t.logs.sampledNewest(data.sampled)}</p>}
      />
    </>
  )
}

function PatternText({ text }: { text: string }) {
  return (
    <span className={css.pattern} title={text}>
      {text.split(hole).flatMap((part, i) =>
        i === 0
          ? [part]
          : [
              <span key={i} className={css.hole}>
                {hole}
              </span>,
              part,
            ],
      )}
    </span>
  )
}
