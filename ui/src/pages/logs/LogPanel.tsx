import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import type { Schemas } from '../../api/client'
import { logContext } from '../../api/queries'
import { Attributes, Facts, Section } from '../../components/Attributes'
import { Button } from '../../components/Button'
import { CopyButton, Id } from '../../components/Copy'
import { ServiceName, Severity } from '../../components/Mark'
import { SidePanel } from '../../components/SidePanel'
import { Broken, Skeleton } from '../../components/States'
import { Time } from '../../components/Time'
import type { Condition } from '../../state/filter'
import { parseTime } from '../../state/range'
import { useTexts } from '../../state/texts'
import { keepRange, useSetUrl } from '../../state/url'
import { pretty } from './record'
import css from './LogsPage.module.css'

type Log = Schemas['Log']

/** Without a trace, related signals are looked for so far around the record. */
const aroundMs = 300_000

/** All of a record. One that is not in the list, from a link, is fetched. */
export function LogPanel({ id, listed, onFilter, onClose }: { id: string; listed: Log | undefined; onFilter: (c: Condition) => void; onClose: () => void }) {
  const t = useTexts()
  const { data, error, refetch } = useQuery({ ...logContext(id, 1), enabled: listed === undefined })
  const log = listed ?? data?.logs.find((l) => l.id === id)
  if (error || !log)
    return (
      <SidePanel title={t.logs.record} onClose={onClose}>
        {error ? <Broken compact error={error} onRetry={() => void refetch()} /> : <Skeleton />}
      </SidePanel>
    )
  return <Record log={log} onFilter={onFilter} onClose={onClose} />
}

function Record({ log, onFilter, onClose }: { log: Log; onFilter: (c: Condition) => void; onClose: () => void }) {
  const t = useTexts()
  const set = useSetUrl()
  const at = parseTime(log.time)
  return (
    <SidePanel
      title={<Severity name={log.severity} />}
      anchor={{ service: log.service, traceId: log.traceId || undefined, spanId: log.spanId || undefined, start: at - aroundMs, end: at + aroundMs }}
      tools={<CopyButton text={() => JSON.stringify(log, null, 2)} label={t.logs.copyRecord} />}
      onClose={onClose}
      wide
    >
      <div className={css.jump}>
        {log.traceId && (
          <Link to="/traces/$traceId" params={{ traceId: log.traceId }} search={(last) => ({ ...keepRange(last), span: log.spanId || undefined, near: String(Math.round(at)) })} tabIndex={-1}>
            <Button icon="traces" look="primary">
              {t.logs.openTrace}
            </Button>
          </Link>
        )}
        <Button icon="logs" onClick={() => set({ around: log.id })}>
          {t.logs.context}
        </Button>
      </div>
      <pre className={css.body} tabIndex={0}>
        {pretty(log.body)}
      </pre>
      <Facts
        facts={[
          [t.logs.time, <Time key="t" at={log.time} form="fine" />],
          [t.logs.observed, log.observed !== log.time && <Time key="o" at={log.observed} form="fine" />],
          [t.logs.service, <ServiceName key="s" name={log.service} />],
          [t.logs.severityText, log.severityText && log.severityText.toLowerCase() !== log.severity && log.severityText],
          ['Trace ID', log.traceId && <Id key="ti" value={log.traceId} keep={8} />],
          ['Span ID', log.spanId && <Id key="si" value={log.spanId} keep={8} />],
          ['Event', log.eventName],
          [t.trace.scope, log.scope],
        ]}
      />
      {log.attributes.length > 0 && (
        <Section title={t.trace.attributes}>
          <Attributes attributes={log.attributes} prefix="log" onFilter={onFilter} />
        </Section>
      )}
      {log.resource.length > 0 && (
        <Section title={t.trace.resource}>
          <Attributes attributes={log.resource} prefix="resource" onFilter={onFilter} />
        </Section>
      )}
    </SidePanel>
  )
}
