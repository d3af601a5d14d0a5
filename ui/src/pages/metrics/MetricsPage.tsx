import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'
import { metadata, metricNames } from '../../api/prometheus'
import { Button } from '../../components/Button'
import { Page } from '../../components/Page'
import { SidePanel } from '../../components/SidePanel'
import { Broken, NothingYet, Skeleton } from '../../components/States'
import { Facts } from '../../components/Attributes'
import { Time } from '../../components/Time'
import { useTexts } from '../../state/texts'
import { useQuestion, useSetUrl, useUrl } from '../../state/url'
import { Browse } from './Browse'
import { Builder } from './Builder'
import { PromEditor } from './PromEditor'
import { families, formatOf } from './promql'
import { type Point, Result } from './Result'
import css from './MetricsPage.module.css'

/** Around a point of a series, related signals are looked for so far. */
const aroundMs = 300_000

export default function MetricsPage() {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const { start, end } = useQuestion()
  const expr = url.expr ?? ''
  const [draft, setDraft] = useState(expr)
  const [point, setPoint] = useState<Point>()
  const [shown, setShown] = useState(expr)
  if (shown !== expr) {
    setShown(expr)
    setDraft(expr)
    setPoint(undefined)
  }
  const names = useQuery(metricNames({ start, end }))
  const { data: meta } = useQuery(metadata())
  const metrics = useMemo(() => families(names.data ?? [], meta ?? {}), [names.data, meta])
  const run = (text: string) => set({ expr: text.trim() || undefined, sort: undefined })
  const building = url.view === 'builder'
  return (
    <Page
      title={t.metrics.title}
      bar={
        <div className={css.bar}>
          <div className={css.editor}>
            <PromEditor value={draft} onRun={run} onChange={setDraft} />
          </div>
          <Button look="primary" icon="play" onClick={() => run(draft)}>
            {t.metrics.run}
          </Button>
          <Button aria-pressed={building} title={t.metrics.builderHelp} onClick={() => set({ view: building ? undefined : 'builder' })}>
            {t.metrics.builder}
          </Button>
        </div>
      }
      side={point && <PointPanel point={point} expr={expr} onClose={() => setPoint(undefined)} />}
    >
      {building && <Builder metrics={metrics} onQuery={run} />}
      {expr ? (
        <Result expr={expr} onPick={setPoint} />
      ) : names.error ? (
        <Broken error={names.error} onRetry={() => void names.refetch()} />
      ) : names.isPending ? (
        <Skeleton lines={12} />
      ) : metrics.length === 0 ? (
        <NothingYet title={t.state.nothingMetrics} hint={t.state.nothingMetricsHint} />
      ) : (
        <Browse metrics={metrics} onQuery={run} />
      )}
    </Page>
  )
}

/** A point that was clicked: its labels, and the signals of its service at that time. */
function PointPanel({ point, expr, onClose }: { point: Point; expr: string; onClose: () => void }) {
  const t = useTexts()
  const { labels, points } = point.series
  const service = labels.service_name ?? labels.job?.split('/').at(-1)
  const value = points.find(([s]) => s * 1000 === point.at)?.[1]
  return (
    <SidePanel title={labels.__name__ ?? t.metrics.name} anchor={service ? { service, start: point.at - aroundMs, end: point.at + aroundMs } : undefined} onClose={onClose}>
      <Facts facts={[[t.logs.time, <Time key="t" at={point.at} form="moment" />], [t.metrics.value, value !== undefined && formatOf(expr)(value)], ...Object.entries(labels).map(([k, v]) => [k, <span key={k} className="mono">{v}</span>] as const)]} />
    </SidePanel>
  )
}
