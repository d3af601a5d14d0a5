import { Link, useNavigate } from '@tanstack/react-router'
import type { Schemas } from '../../api/client'
import { Attributes, Facts, Section } from '../../components/Attributes'
import { Id } from '../../components/Copy'
import { Mark, ServiceName } from '../../components/Mark'
import { SidePanel } from '../../components/SidePanel'
import { Time } from '../../components/Time'
import { type Condition, formatFilter, tryParse, withCondition } from '../../state/filter'
import { parseTime } from '../../state/range'
import { useTexts } from '../../state/texts'
import { keepRange, useUrl } from '../../state/url'
import { duration, percent } from '../../state/units'
import { length, type Model } from './model'
import { Sockets } from './Sockets'
import { LogLines } from './TraceLogs'
import css from './TracePage.module.css'

type Log = Schemas['Log']

/** Everything that is known of a span. */
export function SpanPanel({ model, spanId, records, onClose, onChoose }: { model: Model; spanId: string; records: readonly Log[]; onClose: () => void; onChoose: (id: string) => void }) {
  const t = useTexts()
  const url = useUrl()
  const navigate = useNavigate()
  const row = model.rows[model.rowOf.get(spanId) ?? -1]
  if (!row) return null
  const { span } = row
  const { trace } = model
  const traceStart = parseTime(trace.start)
  const start = traceStart + span.offsetNs / 1e6
  const resource = trace.resources[span.resource]
  const parent = row.parent >= 0 ? model.rows[row.parent]!.span : undefined
  const own = records.filter((l) => l.spanId === span.spanId)
  const critical = length(span.critical)
  const onFilter = (c: Condition) => void navigate({ to: '/traces', search: (last) => ({ ...keepRange(last), q: formatFilter(withCondition(tryParse(url.q), c)) }) })
  return (
    <SidePanel
      title={span.name}
      anchor={{ service: span.service, traceId: trace.traceId, spanId: span.spanId, start, end: Math.max(start + span.durationNs / 1e6, start + 1) }}
      onClose={onClose}
      wide
    >
      <Facts
        facts={[
          [t.services.name, <ServiceName key="s" name={span.service} />],
          [t.service.kind, t.trace.kind[span.kind] ?? span.kind],
          [t.trace.status, <Status key="st" status={span.status} message={span.statusMessage} />],
          [t.signal.duration, t.trace.durationShare(duration(span.durationNs), percent(span.durationNs / model.total))],
          [t.trace.self, duration(span.selfNs)],
          [t.trace.critical, critical > 0 && model.critical > 0 && t.trace.criticalOf(percent(critical / model.critical))],
          [t.trace.offset, duration(span.offsetNs)],
          [t.trace.started, <Time key="t" at={start} form="fine" />],
          ['', span.skewed && <Mark key="m" kind="warn" reason={t.mark.skewed}>{t.mark.skewedShort}</Mark>],
        ]}
      />
      {span.events.length > 0 && (
        <Section title={t.trace.events} mark={<Dropped n={span.droppedEvents} />}>
          {span.events.map((e, i) => (
            <div key={i} className={css.event}>
              <div className={css.eventHead}>
                <span>{e.name}</span>
                <span className="dim">+{duration(e.offsetNs - span.offsetNs)}</span>
              </div>
              <Attributes attributes={e.attributes} prefix="event" onFilter={onFilter} />
            </div>
          ))}
        </Section>
      )}
      <Sockets trace={trace} span={span} />
      <Section title={t.trace.attributes} mark={<Dropped n={span.droppedAttributes} />}>
        {span.attributes.length > 0 ? <Attributes attributes={span.attributes} prefix="span" onFilter={onFilter} /> : <p className="dim">{t.common.none}</p>}
      </Section>
      <Section title={t.trace.spanLogs}>{own.length > 0 ? <LogLines records={own} start={traceStart} /> : <p className="dim">{t.trace.noLogs}</p>}</Section>
      {span.links.length > 0 && (
        <Section title={t.trace.links} mark={<Dropped n={span.droppedLinks} />}>
          {span.links.map((l, i) => (
            <div key={i} className={css.event}>
              <Link to="/traces/$traceId" params={{ traceId: l.traceId }} search={(last) => ({ ...keepRange(last), span: l.spanId })} className="mono">
                {l.traceId}
              </Link>
              <Attributes attributes={l.attributes} />
            </div>
          ))}
        </Section>
      )}
      {resource && (
        <Section title={t.trace.resource}>
          <Attributes attributes={resource.attributes} prefix="resource" onFilter={onFilter} />
        </Section>
      )}
      <Section title={t.trace.identity}>
        <Facts
          facts={[
            ['Trace ID', <Id key="t" value={trace.traceId} keep={8} />],
            ['Span ID', <Id key="s" value={span.spanId} keep={8} />],
            [
              t.trace.parent,
              parent && (
                <button key="p" type="button" onClick={() => onChoose(parent.spanId)} className={css.parent}>
                  {parent.name}
                </button>
              ),
            ],
            [t.trace.scope, span.scope],
            [t.trace.traceState, span.traceState && <span key="ts" className="mono">{span.traceState}</span>],
          ]}
        />
      </Section>
    </SidePanel>
  )
}

function Status({ status, message }: { status: Schemas['Span']['status']; message: string }) {
  const t = useTexts()
  const text = { unset: t.trace.statusUnset, ok: t.trace.statusOk, error: t.trace.statusError }[status]
  return (
    <span className={status === 'error' ? css.bad : undefined}>
      {text}
      {message && `: ${message}`}
    </span>
  )
}

function Dropped({ n }: { n: number }) {
  const t = useTexts()
  return n > 0 ? (
    <Mark kind="warn" reason={t.mark.dropped(n)}>
      −{t.count(n)}
    </Mark>
  ) : null
}
