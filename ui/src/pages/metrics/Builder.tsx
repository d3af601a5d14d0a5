import { useQuery } from '@tanstack/react-query'
import { useId, useState } from 'react'
import { labelNames, labelValues } from '../../api/prometheus'
import { Button, IconButton } from '../../components/Button'
import { useTexts } from '../../state/texts'
import { useQuestion } from '../../state/url'
import { type Choice, type Family, operationsOf, write } from './promql'
import css from './MetricsPage.module.css'

/** Choices that are written as a query with each change. */
export function Builder({ metrics, onQuery }: { metrics: readonly Family[]; onQuery: (expr: string) => void }) {
  const t = useTexts()
  const id = useId()
  const { start, end } = useQuestion()
  const [choice, setChoice] = useState<Choice>({ metric: '', kind: 'gauge', operation: 'raw', matchers: [], by: [] })
  // The labels of a histogram are those of its parts.
  const series = choice.kind === 'histogram' ? `${choice.metric}_count` : choice.metric
  const { data: labels = [] } = useQuery({ ...labelNames({ start, end }, series), enabled: choice.metric !== '' })
  const update = (patch: Partial<Choice>) => {
    const next = { ...choice, ...patch }
    setChoice(next)
    if (next.metric && next.matchers.every((m) => m.label === '' || m.value !== '')) onQuery(write(next))
  }
  const chooseMetric = (name: string) => {
    const found = metrics.find((m) => m.name === name)
    if (found) update({ metric: name, kind: found.kind, operation: operationsOf[found.kind][0]!, matchers: [], by: [] })
    else setChoice({ ...choice, metric: name })
  }
  return (
    <section className={css.builder} aria-label={t.metrics.builder}>
      <label>
        {t.metrics.metric}
        <input className={css.metric} list={`${id}m`} value={choice.metric} placeholder={t.metrics.chooseMetric} spellCheck={false} onChange={(e) => chooseMetric(e.target.value)} />
        <datalist id={`${id}m`}>
          {metrics.map((m) => (
            <option key={m.name} value={m.name}>
              {m.help}
            </option>
          ))}
        </datalist>
      </label>
      <label>
        {t.metrics.operation}
        <select value={choice.operation} onChange={(e) => update({ operation: e.target.value as Choice['operation'] })}>
          {operationsOf[choice.kind].map((o) => (
            <option key={o} value={o}>
              {t.metrics.ops[o]}
            </option>
          ))}
        </select>
      </label>
      <label>
        {t.metrics.groupBy}
        <select value={choice.by[0] ?? ''} onChange={(e) => update({ by: e.target.value ? [e.target.value] : [] })}>
          <option value="">–</option>
          {labels.map((l) => (
            <option key={l}>{l}</option>
          ))}
        </select>
      </label>
      <div className={css.part}>
        {t.metrics.labels}
        <div className={css.matchers}>
          {choice.matchers.map((m, i) => (
            <Matcher
              key={i}
              metric={series}
              labels={labels}
              value={m}
              onChange={(next) => update({ matchers: choice.matchers.map((o, k) => (k === i ? next : o)) })}
              onRemove={() => update({ matchers: choice.matchers.filter((_, k) => k !== i) })}
            />
          ))}
          <Button icon="plus" onClick={() => setChoice({ ...choice, matchers: [...choice.matchers, { label: '', value: '' }] })} aria-label={t.filter.add} />
        </div>
      </div>
    </section>
  )
}

type Pair = Choice['matchers'][number]

function Matcher({ metric, labels, value, onChange, onRemove }: { metric: string; labels: readonly string[]; value: Pair; onChange: (m: Pair) => void; onRemove: () => void }) {
  const t = useTexts()
  const { start, end } = useQuestion()
  const { data: values = [] } = useQuery({ ...labelValues({ start, end }, metric, value.label), enabled: value.label !== '' })
  return (
    <>
      <select aria-label={t.metrics.labels} value={value.label} onChange={(e) => onChange({ label: e.target.value, value: '' })}>
        <option value="">–</option>
        {labels.map((l) => (
          <option key={l}>{l}</option>
        ))}
      </select>
      <span>=</span>
      <select aria-label={t.filter.values} value={value.value} onChange={(e) => onChange({ ...value, value: e.target.value })}>
        <option value="">–</option>
        {values.map((v) => (
          <option key={v}>{v}</option>
        ))}
      </select>
      <IconButton small icon="close" label={t.filter.remove(value.label)} onClick={onRemove} />
    </>
  )
}
