import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { fields, type Question, values } from '../../api/queries'
import { IconButton } from '../../components/Button'
import { Icon } from '../../components/Icon'
import { Broken, Skeleton } from '../../components/States'
import type { Condition } from '../../state/filter'
import { useTexts } from '../../state/texts'
import css from './FieldList.module.css'

/** What people look at first stands first. */
const first = ['severity', 'service.name', 'scope.name', 'event_name']
/** Ids have no frequent values, bodies have patterns, and the text of a severity is its name. */
const useless = /^(trace_id|span_id|body|severity_text)$/
const groups = ['', 'log.', 'resource.'] as const
/** Values of a field that are listed. */
const topValues = 10

interface Props {
  question: Question
  columns: readonly string[]
  onColumn: (field: string) => void
  onFilter: (c: Condition) => void
}

export function FieldList({ question, columns, onColumn, onFilter }: Props) {
  const t = useTexts()
  const [find, setFind] = useState('')
  const [open, setOpen] = useState<string>()
  const { data, error, refetch, isPending } = useQuery(fields(question, 'logs'))
  const rank = (f: string) => (first.includes(f) ? first.indexOf(f) : first.length)
  const found = (data?.fields ?? []).filter((f) => !useless.test(f.value) && f.value.toLowerCase().includes(find.toLowerCase())).sort((a, b) => rank(a.value) - rank(b.value))
  const groupOf = (f: string) => groups.findLast((g) => f.startsWith(g)) ?? ''
  return (
    <section className={css.panel} aria-label={t.logs.fields}>
      <input className={css.find} type="search" value={find} placeholder={t.logs.findField} aria-label={t.logs.findField} onChange={(e) => setFind(e.target.value)} />
      {error ? (
        <Broken compact error={error} onRetry={() => void refetch()} />
      ) : isPending ? (
        <Skeleton lines={10} />
      ) : (
        groups.map((g) => {
          const list = found.filter((f) => groupOf(f.value) === g)
          if (list.length === 0) return null
          return (
            <div key={g} role="group" aria-label={t.logs.groups[g]}>
              {g && <div className={css.group}>{t.logs.groups[g]}</div>}
              {list.map((f) => (
                <Field
                  key={f.value}
                  field={f.value}
                  name={f.value.slice(g.length)}
                  count={f.count}
                  question={question}
                  open={open === f.value}
                  onOpen={() => setOpen(open === f.value ? undefined : f.value)}
                  shown={columns.includes(f.value)}
                  onColumn={onColumn}
                  onFilter={onFilter}
                />
              ))}
            </div>
          )
        })
      )}
    </section>
  )
}

interface FieldProps {
  field: string
  /** Without the prefix of its group. */
  name: string
  count: number
  question: Question
  open: boolean
  onOpen: () => void
  shown: boolean
  onColumn: (field: string) => void
  onFilter: (c: Condition) => void
}

function Field({ field, name, count, question, open, onOpen, shown, onColumn, onFilter }: FieldProps) {
  const t = useTexts()
  return (
    <>
      <div className={css.field}>
        <button type="button" className={css.open} aria-expanded={open} onClick={onOpen} title={field}>
          <Icon name={open ? 'down' : 'right'} size={12} />
          <span>{name}</span>
          <span className={css.count}>{t.count(count)}</span>
        </button>
        <span className={css.column}>
          <IconButton small icon={shown ? 'minus' : 'columns'} label={shown ? t.logs.removeColumn : t.logs.addColumn} aria-pressed={shown} onClick={() => onColumn(field)} />
        </span>
      </div>
      {open && <Values question={question} field={field} total={count} onFilter={onFilter} />}
    </>
  )
}

function Values({ question, field, total, onFilter }: { question: Question; field: string; total: number; onFilter: (c: Condition) => void }) {
  const t = useTexts()
  const { data, error, refetch, isPending } = useQuery(values(question, 'logs', field, '', topValues))
  if (error) return <Broken compact error={error} onRetry={() => void refetch()} />
  if (isPending) return <Skeleton lines={3} />
  return (
    <ul className={css.values} aria-label={t.logs.topValues(field)}>
      {data.values.map((v) => (
        <li key={v.value} className={css.value}>
          <span className={css.share} style={{ width: `${(100 * v.count) / Math.max(1, total)}%` }} />
          <button type="button" className={css.text} title={`${t.common.filter}: ${v.value}`} onClick={() => onFilter({ field, op: '=', value: v.value })}>
            {v.value || t.common.emptyValue}
          </button>
          <span className={css.count}>{t.count(v.count)}</span>
          <span className={css.exclude}>
            <IconButton small icon="exclude" label={t.common.exclude} onClick={() => onFilter({ field, op: '!=', value: v.value })} />
          </span>
        </li>
      ))}
    </ul>
  )
}
