import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import { useCallback, useMemo, useState } from 'react'
import { ApiError } from '../../api/client'
import { trace } from '../../api/queries'
import { Button, IconButton } from '../../components/Button'
import { Id } from '../../components/Copy'
import { FilterInput } from '../../components/FilterBar'
import { Mark } from '../../components/Mark'
import { Crumb, Page } from '../../components/Page'
import { Broken, Empty, Skeleton } from '../../components/States'
import { Time } from '../../components/Time'
import { Views } from '../../components/Views'
import { serviceColour } from '../../state/colour'
import { tryParse } from '../../state/filter'
import { useKeys } from '../../state/keys'
import { matcher } from '../../state/match'
import { parseTime } from '../../state/range'
import { useTexts } from '../../state/texts'
import { keepAll, parseZoom, useSetUrl, useUrl } from '../../state/url'
import { duration, middle } from '../../state/units'
import { Flame } from './Flame'
import { Minimap } from './Minimap'
import { build, following, type Model } from './model'
import { useSocketMarks } from './Sockets'
import { SpanPanel } from './SpanPanel'
import { SpanTable } from './SpanTable'
import { TraceLogs, useTraceLogs } from './TraceLogs'
import { Waterfall } from './Waterfall'
import type { LogDot } from './WaterfallRow'
import css from './TracePage.module.css'

export default function TracePage() {
  const t = useTexts()
  const { traceId = '' } = useParams({ strict: false })
  const url = useUrl()
  const { data, error, refetch, isPending } = useQuery(trace(traceId, url.near))
  const model = useMemo(() => data && build(data), [data])
  const heading = (
    <span className={css.title}>
      <Link to="/traces" search={keepAll}>
        <Crumb>{t.traces.title} /</Crumb>
      </Link>
      {data && <span className={css.colour} style={{ background: serviceColour(data.service) }} />}
      <span className="cut">{data ? `${data.service}: ${data.name}` : middle(traceId)}</span>
    </span>
  )
  if (error)
    return (
      <Page title={t.trace.title} heading={heading} timeless>
        {error instanceof ApiError && error.status === 404 ? <Empty title={t.trace.notFound} hint={t.trace.notFoundHint} /> : <Broken error={error} onRetry={() => void refetch()} />}
      </Page>
    )
  if (isPending || !model)
    return (
      <Page title={t.trace.title} heading={heading} timeless>
        <Skeleton lines={16} />
      </Page>
    )
  return <Loaded key={traceId} model={model} heading={heading} />
}

const views = ['waterfall', 'flame', 'table', 'logs'] as const
type View = (typeof views)[number]

function Loaded({ model, heading }: { model: Model; heading: React.ReactNode }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const { trace: data } = model
  const [goTo, setGoTo] = useState<{ row: number }>()
  const logs = useTraceLogs(data)
  const marks = useSocketMarks(data)
  const dots = useMemo(() => logDots(logs.records, parseTime(data.start)), [logs.records, data.start])
  const view: View = views.find((v) => v === url.view) ?? 'waterfall'
  const zoom = useMemo(() => parseZoom(url.zoom, model.total), [url.zoom, model.total])
  const onZoom = useCallback((z: readonly [number, number] | undefined) => set({ zoom: z && `${Math.round(z[0])}-${Math.round(z[1])}` }, { replace: true }), [set])
  const onChoose = useCallback((span: string, how?: { replace?: boolean }) => set({ span }, how), [set])
  const matches = useMemo(() => find(model, url.q), [model, url.q])
  const failed = useMemo(() => model.rows.flatMap((r, i) => (r.span.status === 'error' ? [i] : [])), [model])
  const chosenRow = url.span === undefined ? -1 : (model.rowOf.get(url.span) ?? -1)
  const jump = (list: readonly number[], forward: boolean) => {
    const row = following(list, goTo?.row ?? chosenRow, forward)
    if (row === undefined) return
    setGoTo({ row })
    onChoose(model.rows[row]!.span.spanId, { replace: true })
  }
  useKeys({ e: () => jump(failed, true) })

  return (
    <Page
      title={`${data.service}: ${data.name}`}
      heading={heading}
      timeless
      tools={<Id value={data.traceId} keep={5} />}
      side={url.span && <SpanPanel model={model} spanId={url.span} records={logs.records} onClose={() => set({ span: undefined })} onChoose={onChoose} />}
    >
      <Head model={model} failed={failed.length} onError={() => jump(failed, true)} />
      <Minimap model={model} zoom={zoom} onZoom={onZoom} />
      <div className={css.toolbar}>
        <Views label={t.trace.title} value={view} views={views.map((v) => ({ value: v, text: v === 'logs' && data.logs > 0 ? `${t.trace.logs} ${t.count(data.logs)}` : t.trace[v] }))} patch={{ sort: undefined }} />
        <FilterInput signal="traces" label={t.trace.findLabel} placeholder={t.trace.find} value={url.q ?? ''} onChange={(q) => set({ q: q || undefined }, { replace: true })} within={`trace_id = ${data.traceId}`} at={parseTime(data.start)} />
        {matches && <Found model={model} matches={matches} at={goTo?.row ?? chosenRow} onJump={jump} />}
        {url.zoom && (
          <Button small icon="wider" onClick={() => onZoom(undefined)}>
            {t.trace.resetZoom}
          </Button>
        )}
      </div>
      <div className={css.view}>
        {view === 'waterfall' && <Waterfall model={model} zoom={zoom} onZoom={onZoom} chosen={url.span} onChoose={onChoose} matches={matches} dots={dots} marks={marks} goTo={goTo} />}
        {view === 'flame' && <Flame model={model} zoom={zoom} onZoom={onZoom} chosen={url.span} onChoose={onChoose} matches={matches} />}
        {view === 'table' && <SpanTable model={model} onChoose={onChoose} />}
        {view === 'logs' && <TraceLogs trace={data} logs={logs} />}
      </div>
    </Page>
  )
}

function Head({ model, failed, onError }: { model: Model; failed: number; onError: () => void }) {
  const t = useTexts()
  const { trace: data } = model
  return (
    <div className={css.head}>
      <span>
        {t.signal.duration} <b>{duration(data.durationNs)}</b>
      </span>
      <span>
        {t.trace.started} <Time at={data.start} form="fine" />
      </span>
      <span>{t.common.spans(data.spans)}</span>
      {failed > 0 && (
        <button type="button" className={css.bad} onClick={onError} title={`${t.trace.nextError} (e)`}>
          <b>{t.common.errors(failed)}</b>
        </button>
      )}
      <span>
        {t.trace.depth} {t.count(model.depth)}
      </span>
      {data.rootMissing && (
        <Mark kind="warn" reason={t.mark.rootMissing}>
          {t.mark.partial}
        </Mark>
      )}
      {data.cut && (
        <Mark kind="warn" reason={t.mark.cut}>
          {t.mark.cutShort}
        </Mark>
      )}
      {data.weight > 1.01 && <Mark reason={t.mark.weighted(data.weight)}>×{t.count(data.weight)}</Mark>}
      <span className={css.legend}>
        <i />
        {t.trace.self}
        <i className={css.below} />
        {t.trace.below}
        <i className={css.path} />
        {t.trace.critical}
      </span>
      <span className={css.services}>
        {data.services.slice(0, 12).map((s) => (
          <span key={s.name} className={css.service} title={t.common.spans(s.spans)}>
            <span className={css.colour} style={{ background: serviceColour(s.name) }} />
            {s.name} <span className="dim">{t.count(s.spans)}</span>
          </span>
        ))}
      </span>
    </div>
  )
}

function Found({ matches, at, onJump }: { model: Model; matches: ReadonlySet<number>; at: number; onJump: (list: readonly number[], forward: boolean) => void }) {
  const t = useTexts()
  const list = useMemo(() => [...matches].sort((a, b) => a - b), [matches])
  useKeys({ n: () => onJump(list, true), N: () => onJump(list, false) })
  const position = list.indexOf(at) + 1
  return (
    <>
      <span className={css.found} role="status">
        {list.length === 0 ? t.trace.foundNone : position > 0 ? t.trace.found(position, list.length) : t.common.spans(list.length)}
      </span>
      <IconButton small icon="up" label={t.trace.previous} shortcut="N" disabled={list.length === 0} onClick={() => onJump(list, false)} />
      <IconButton small icon="down" label={t.trace.next} shortcut="n" disabled={list.length === 0} onClick={() => onJump(list, true)} />
    </>
  )
}

/** Rows that meet the filter; undefined without one. */
function find(model: Model, q: string | undefined): ReadonlySet<number> | undefined {
  const conditions = tryParse(q)
  if (conditions.length === 0) return undefined
  const match = matcher(conditions, model.trace.traceId, model.trace.resources)
  const out = new Set<number>()
  model.rows.forEach((r, i) => match(r.span) && out.add(i))
  return out
}

function logDots(records: readonly { spanId: string; time: string; severity: string }[], start: number): ReadonlyMap<string, LogDot[]> {
  const out = new Map<string, LogDot[]>()
  for (const l of records) {
    if (!l.spanId) continue
    const dot = { atNs: (parseTime(l.time) - start) * 1e6, severity: l.severity }
    const list = out.get(l.spanId)
    if (list) list.push(dot)
    else out.set(l.spanId, [dot])
  }
  return out
}
