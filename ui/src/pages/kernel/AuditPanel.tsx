import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import type { AuditEvent } from '../../api/kernel'
import { logContext } from '../../api/queries'
import { Facts, Section } from '../../components/Attributes'
import { Button } from '../../components/Button'
import { CopyButton, Id } from '../../components/Copy'
import { Mark, ServiceName } from '../../components/Mark'
import { SidePanel } from '../../components/SidePanel'
import { Broken, Empty, Skeleton } from '../../components/States'
import { Time } from '../../components/Time'
import type { Condition } from '../../state/filter'
import { parseTime } from '../../state/range'
import { useTexts } from '../../state/texts'
import { keepRange, useSetUrl } from '../../state/url'
import { attackAddress, fromLog, moreOf, ruleCondition } from './audit'
import { AuditSeverity } from './AuditPage'
import css from './Kernel.module.css'

/** Related signals are looked for so far around the event. */
const aroundMs = 300_000

/** All of an event. One that is not in the list, from a link, is fetched. */
export function AuditPanel({ id, listed, onFilter, onClose }: { id: string; listed: AuditEvent | undefined; onFilter: (c: Condition) => void; onClose: () => void }) {
  const t = useTexts()
  const { data, error, refetch, isPending } = useQuery({ ...logContext(id, 1), enabled: listed === undefined })
  const log = data?.logs.find((l) => l.id === id)
  const event = listed ?? (log && fromLog(log))
  if (!event)
    return (
      <SidePanel title={t.kernel.auditEvent} onClose={onClose}>
        {error ? <Broken compact error={error} onRetry={() => void refetch()} /> : isPending ? <Skeleton /> : <Empty compact title={t.state.noMatch} />}
      </SidePanel>
    )
  return <Event event={event} onFilter={onFilter} onClose={onClose} />
}

function Event({ event: e, onFilter, onClose }: { event: AuditEvent; onFilter: (c: Condition) => void; onClose: () => void }) {
  const t = useTexts()
  const set = useSetUrl()
  const at = parseTime(e.time)
  const [process, container] = [moreOf(e, 'process'), moreOf(e, 'container')]
  return (
    <SidePanel
      title={<AuditSeverity name={e.severity} />}
      anchor={e.service ? { service: e.service, start: at - aroundMs, end: at + aroundMs } : undefined}
      tools={<CopyButton text={() => JSON.stringify(e, null, 2)} label={t.logs.copyRecord} />}
      onClose={onClose}
      wide
    >
      <p className={css.text}>{e.text}</p>
      {e.findings.length > 0 && (
        <Section title={t.kernel.findings}>
          {e.findings.map((f) => {
            const address = attackAddress(f.technique)
            return (
              <div key={f.rule} className={css.finding}>
                <AuditSeverity name={f.severity} />
                <span>{t.kernel.ruleTitle[f.rule] ?? f.title}</span>
                <button type="button" className="mono dim" title={t.kernel.sameRule} onClick={() => onFilter(ruleCondition(f.rule))}>
                  {f.rule}
                </button>
                {address && (
                  <a className={css.external} href={address} target="_blank" rel="noreferrer" aria-label={t.kernel.attack(f.technique)}>
                    {f.technique}
                  </a>
                )}
              </div>
            )
          })}
        </Section>
      )}
      {e.commandLine && (
        <pre className={css.command} tabIndex={0} aria-label={t.kernel.commandLine}>
          {e.commandLine}
        </pre>
      )}
      <div className={css.jump}>
        {process && (
          <Button small icon="filter" onClick={() => set({ q: process, sev: 'none' })}>
            {t.kernel.sameProcess}
          </Button>
        )}
        {container && (
          <Button small icon="filter" onClick={() => set({ q: container, sev: 'none' })}>
            {t.kernel.sameContainer}
          </Button>
        )}
        <Link to="/logs" search={(last) => ({ ...keepRange(last), kernel: '1', log: e.id })} tabIndex={-1}>
          <Button small icon="logs">
            {t.kernel.record}
          </Button>
        </Link>
      </div>
      <Facts
        facts={[
          [t.kernel.time, <Time key="t" at={e.time} form="fine" />],
          [t.kernel.parents, e.ancestors.length > 0 && <Chain key="c" ancestors={e.ancestors} />],
          [t.services.name, e.service && <ServiceName key="s" name={e.service} />],
          [t.kernel.process, e.pid > 0 && `${e.pid}${e.parentPid > 0 ? ` < ${e.parentPid}` : ''}`],
          [t.kernel.executable, e.executable && <span className="mono">{e.executable}</span>],
          [t.kernel.user, e.user],
          [t.kernel.path, e.path && <span className="mono">{e.path}</span>],
          [t.kernel.call, e.call && <span className="mono">{e.call}</span>],
          [t.kernel.result, e.denied ? <Mark key="d" kind="warn" reason={t.kernel.denied}>{`${t.kernel.denied} (${e.result})`}</Mark> : e.result !== '0' && e.result],
          [t.kernel.detail, e.detail],
          [t.kernel.container, e.containerName],
          ['Container ID', e.container && <Id key="i" value={e.container} keep={8} />],
          [t.kernel.image, e.image],
          [t.kernel.pod, e.pod],
          [t.kernel.host, e.host],
        ]}
      />
    </SidePanel>
  )
}

function Chain({ ancestors }: { ancestors: AuditEvent['ancestors'] }) {
  return (
    <ol className={css.chain}>
      {ancestors.map((a, i) => (
        <li key={i}>
          {a.name} {a.pid > 0 && <span className="dim">{a.pid}</span>}
        </li>
      ))}
    </ol>
  )
}
