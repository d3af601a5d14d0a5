import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import type { Schemas } from '../../api/client'
import { type Box, compare, type Question } from '../../api/queries'
import { SidePanel } from '../../components/SidePanel'
import { Broken, Skeleton } from '../../components/States'
import { formatCondition } from '../../state/filter'
import { useTexts } from '../../state/texts'
import { useSetUrl, useUrl } from '../../state/url'
import { percent } from '../../state/units'
import css from './ComparePanel.module.css'

type FieldDiff = Schemas['FieldDiff']
type ValueDiff = Schemas['ValueDiff']

/** Fields that differ less are the noise of two random halves. */
const leastScore = 0.02
/** Values of a field before one asks for more. */
const firstValues = 3
/** Ids differ always and explain nothing. */
const idField = /(^|[._])(trace_id|span_id|parent_span_id)$/

/** The selection against the rest: fields by how much they differ. */
export function ComparePanel({ question, box, service, onClose }: { question: Question; box: Box; service?: string; onClose: () => void }) {
  const t = useTexts()
  const { data, error, refetch, isPending } = useQuery(compare(question, box))
  return (
    <SidePanel title={t.compare.title} anchor={service ? { service, start: box.start, end: box.end } : undefined} onClose={onClose}>
      {error ? <Broken compact error={error} onRetry={() => void refetch()} /> : isPending ? <Skeleton lines={14} /> : <Ranking data={data} />}
    </SidePanel>
  )
}

function Ranking({ data }: { data: Schemas['Comparison'] }) {
  const t = useTexts()
  if (data.selected === 0) return <p>{t.compare.noneSelected}</p>
  const fields = data.fields.filter((f) => f.score >= leastScore && !idField.test(f.field))
  return (
    <>
      <p className={css.summary}>{t.compare.of(data.selected, data.baseline)}</p>
      <div className={css.key}>
        <span>
          <i className={css.selected} />
          {t.compare.selection}
        </span>
        <span>
          <i className={css.baseline} />
          {t.compare.baseline}
        </span>
      </div>
      {fields.length === 0 ? <p>{t.compare.none}</p> : fields.map((f) => <Field key={f.field} field={f} />)}
    </>
  )
}

function Field({ field }: { field: FieldDiff }) {
  const t = useTexts()
  const [all, setAll] = useState(false)
  const shown = all ? field.values : field.values.slice(0, firstValues)
  return (
    <section className={css.field} aria-label={field.field}>
      <div className={css.head}>
        <h3 title={field.field}>{field.field}</h3>
        <span className={css.score} title={`${t.compare.score}: ${percent(field.score)}`}>
          <span style={{ width: `${100 * field.score}%` }} />
        </span>
      </div>
      {shown.map((v) => (
        <Value key={v.value} field={field.field} value={v} />
      ))}
      {field.values.length > firstValues && (
        <button type="button" className={css.more} onClick={() => setAll(!all)}>
          {all ? t.common.less : t.compare.moreValues(field.values.length - firstValues)}
        </button>
      )}
    </section>
  )
}

/** Shows the traces of the selection that have the value; once more takes it back. */
function Value({ field, value }: { field: string; value: ValueDiff }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const condition = formatCondition({ field, op: '=', value: value.value })
  const on = url.pick === condition
  const text = value.value || t.common.missingValue
  return (
    <button type="button" className={css.value} aria-pressed={on} aria-label={t.compare.showShares(field, text, percent(value.selected), percent(value.baseline))} title={t.compare.show(field, text)} onClick={() => set({ pick: on ? undefined : condition })}>
      <span className={`cut ${value.value ? 'mono' : 'dim'}`}>{text}</span>
      <span className={css.bars}>
        <span className={css.selected} style={{ width: `${100 * value.selected}%` }} />
        <span className={css.baseline} style={{ width: `${100 * value.baseline}%` }} />
      </span>
      <span className={css.shares}>
        {percent(value.selected)}
        <br />
        <span className="dim">{percent(value.baseline)}</span>
      </span>
    </button>
  )
}
