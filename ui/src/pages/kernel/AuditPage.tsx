import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { useCallback, useMemo, useState } from 'react'
import { audit, auditRules, type AuditEvent, network, type Severity } from '../../api/kernel'
import { Button, Choice } from '../../components/Button'
import { type Column, DataTable } from '../../components/DataTable'
import { FilterBar } from '../../components/FilterBar'
import { LiveBar } from '../../components/LiveBar'
import { Mark, ServiceName } from '../../components/Mark'
import { Page } from '../../components/Page'
import { RecordVolume } from '../../components/RecordVolume'
import { Broken, Busy, Empty, NoMatch, Skeleton } from '../../components/States'
import { useTail } from '../../components/tail'
import { Time } from '../../components/Time'
import { useDates } from '../../state/dates'
import { type Condition, formatFilter, tryParse, withCondition } from '../../state/filter'
import { setPreferences, usePreferences } from '../../state/preferences'
import { parseTime } from '../../state/range'
import { type Texts, useTexts } from '../../state/texts'
import { useQuestion, useSetUrl, useUrl } from '../../state/url'
import { middle } from '../../state/units'
import { asksRule, auditSeverities, fromLog, isAuditSeverity, recordFilter, type Run, runsOf, toggleRule } from './audit'
import { AuditPanel } from './AuditPanel'
import css from './Kernel.module.css'
import { NoReceiver, Refused, Tabs } from './Parts'
import { RulePanel, Rules } from './Rules'

/** Events that are read without being asked for while they fold into few rows. */
const [mostUnasked, mostFolded] = [2000, 40]

/** Which events: from a severity on, or also those that meet no rule. */
const choices = ['none', ...auditSeverities] as const

export default function AuditPage() {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const question = useQuestion()
  const severity: Severity = choices.find((c) => c === url.sev) ?? 'info'
  const records = recordFilter(question.filter, severity)
  const conditions = useMemo(() => tryParse(url.q), [url.q])
  const live = url.live === '1'
  const [paused, setPaused] = useState(false)
  const tail = useTail(records, live, paused)
  const { data, error, refetch, isPending, isFetching, hasNextPage, fetchNextPage } = useInfiniteQuery(audit(question, severity))
  const rows = useMemo(() => {
    const stored = data?.pages.flatMap((p) => p.events) ?? []
    if (tail.logs.length === 0) return stored
    const seen = new Set(tail.logs.map((l) => l.id))
    return [...tail.logs.map(fromLog), ...stored.filter((e) => !seen.has(e.id))]
  }, [data, tail.logs])
  const onFilter = (c: Condition) => set({ q: formatFilter(withCondition(conditions, c)) })
  const { foldRepeats } = usePreferences()
  const runs = useMemo(() => runsOf(rows, foldRepeats), [rows, foldRepeats])
  // Folded, thousands of events may not fill the screen: then it is for the reader to ask for more.
  const asks = runs.length < mostFolded && rows.length >= mostUnasked
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetching && !asks) void fetchNextPage()
  }, [hasNextPage, isFetching, fetchNextPage, asks])
  const columns = useMemo(() => auditColumns(t), [t])
  const chosen = rows.find((e) => e.id === url.log)
  const rules = url.view === 'rules'

  return (
    <Page
      title={t.kernel.audit}
      heading={t.kernel.title}
      tools={<Tabs />}
      bar={<FilterBar signal="logs" placeholder={t.kernel.placeholderAudit} within={records} />}
      side={
        rules && url.rule ? (
          <RulePanel counts={data?.pages[0]?.rules ?? []} />
        ) : (
          url.log && <AuditPanel id={url.log} listed={chosen} onFilter={onFilter} onClose={() => set({ log: undefined })} />
        )
      }
    >
      <RecordVolume question={{ ...question, filter: records }} label={t.kernel.timeline} className={css.volume} />
      <Features />
      <div className={css.split}>
        <RuleList counts={data?.pages[0]?.rules ?? []} conditions={conditions} />
        <div className={css.main}>
          <div className={css.tools}>
            <Choice
              label={t.kernel.atLeast}
              small
              value={severity}
              options={choices.map((c) => ({ value: c, text: c === 'none' ? t.kernel.all : c === 'info' ? t.kernel.findings : `≥ ${t.kernel.severity[c]!}` }))}
              onChange={(sev) => set({ sev: sev === 'info' ? undefined : sev, view: undefined, rule: undefined })}
            />
            <Button small icon="shield" aria-pressed={rules} onClick={() => set({ view: rules ? undefined : 'rules', rule: undefined })}>
              {t.kernel.rules}
            </Button>
            {!rules && (
              <Button small aria-pressed={foldRepeats} title={t.kernel.foldHint} onClick={() => setPreferences({ foldRepeats: !foldRepeats })}>
                {t.kernel.fold}
              </Button>
            )}
            <span className={css.spacer} />
            {!rules && <LiveBar live={live} paused={paused} tail={tail} onPause={setPaused} />}
          </div>
          <Busy on={isFetching && !isPending} />
          {rules ? (
            <Rules counts={data?.pages[0]?.rules ?? []} />
          ) : error && rows.length === 0 ? (
            <Broken error={error} onRetry={() => void refetch()} />
          ) : isPending ? (
            <Skeleton lines={14} />
          ) : rows.length === 0 ? (
            <Nothing filtered={conditions.length > 0} severity={severity} live={live} />
          ) : (
            <DataTable
              label={t.kernel.audit}
              rows={runs}
              columns={columns}
              rowKey={(r) => r.event.id}
              selected={url.log}
              onOpen={(r) => set({ log: r.event.id })}
              onEnd={onEnd}
              virtual
              keys
              foot={
                error ? (
                  <Broken compact error={error} onRetry={() => void fetchNextPage()} />
                ) : asks && hasNextPage ? (
                  <Button small onClick={() => void fetchNextPage()} disabled={isFetching}>
                    {t.common.loadMore}
                  </Button>
                ) : undefined
              }
            />
          )}
        </div>
      </div>
    </Page>
  )
}

/** Where the audit does not run, once it is known that a receiver does. */
function Features() {
  const { start, end } = useQuestion()
  const { data } = useQuery(network({ start, end }))
  return data ? <Refused features={data.features} feature="audit" /> : null
}

/** Rules that were met, worst and most frequent first; a click asks for one. */
function RuleList({ counts, conditions }: { counts: readonly { value: string; count: number }[]; conditions: readonly Condition[] }) {
  const t = useTexts()
  const set = useSetUrl()
  const { data } = useQuery(auditRules(useQuestion()))
  const known = new Map(data?.rules.map((r) => [r.id, r]))
  const level = (id: string) => auditSeverities.indexOf(known.get(id)?.severity ?? 'info')
  const rows = [...counts].sort((a, b) => level(b.value) - level(a.value) || b.count - a.count)
  return (
    <section className={css.rules} aria-label={t.kernel.rules} tabIndex={0}>
      <h2>{t.kernel.found}</h2>
      {rows.length === 0 && <p className={`${css.inset} dim`}>{t.common.none}</p>}
      {rows.map((r) => {
        const on = asksRule(conditions, r.value)
        const rule = known.get(r.value)
        return (
          <button
            key={r.value}
            type="button"
            className={`${css.ruleItem} ${on ? css.ruleOn : ''}`}
            aria-pressed={on}
            title={t.kernel.ruleTitle[r.value] ?? rule?.title ?? r.value}
            onClick={() => set({ q: formatFilter(toggleRule(conditions, r.value)) || undefined, view: undefined })}
          >
            <span className="cut">{t.kernel.ruleTitle[r.value] ?? r.value.replaceAll('_', ' ')}</span>
            {rule && <AuditSeverity name={rule.severity} quiet />}
            <span className="dim">{t.count(r.count)}</span>
          </button>
        )
      })}
    </section>
  )
}

function Nothing({ filtered, severity, live }: { filtered: boolean; severity: Severity; live: boolean }) {
  const t = useTexts()
  const set = useSetUrl()
  const { start, end } = useQuestion()
  const { data } = useQuery(network({ start, end }))
  if (live) return <Empty title={t.logs.waiting} />
  if (filtered) return <NoMatch />
  if (!data) return <Skeleton lines={4} />
  if (data.features.length === 0) return <NoReceiver />
  return (
    <Empty title={t.kernel.quiet} hint={severity === 'none' ? undefined : t.kernel.quietHint}>
      {severity !== 'none' && <Button onClick={() => set({ sev: 'none' })}>{t.kernel.all}</Button>}
    </Empty>
  )
}

// Each severity has a shape and a word, so that colour is never the only sign.
const looks: Record<Severity, [string | undefined, React.ReactNode]> = {
  none: [css.sevNone, <path key="p" d="M1 4.3h8v1.4H1z" />],
  info: [css.sevInfo, <circle key="p" cx="5" cy="5" r="2" />],
  notice: [css.sevNotice, <circle key="p" cx="5" cy="5" r="3.5" />],
  warning: [css.sevWarning, <path key="p" d="M5 0l5 5-5 5-5-5z" />],
  critical: [css.sevCritical, <path key="p" d="M5 .5 9.8 9.5H.2z" />],
}

export function AuditSeverity({ name, quiet }: { name: string; quiet?: boolean }) {
  const t = useTexts()
  const s: Severity = isAuditSeverity(name) ? name : 'none'
  const [look, shape] = looks[s]
  return (
    <span className={`${css.sev} ${look}`} title={quiet ? t.kernel.severity[s] : undefined}>
      <svg width="10" height="10" viewBox="0 0 10 10" fill="currentColor" aria-hidden="true">
        {shape}
      </svg>
      <span className={quiet ? 'hidden-text' : undefined}>{t.kernel.severity[s]}</span>
    </span>
  )
}

/** What happened: the worst finding, in the reader's language where it is one of ours. */
function titleOf(t: Texts, e: AuditEvent): string {
  const worst = e.findings[0]
  return worst ? (t.kernel.ruleTitle[worst.rule] ?? worst.title) : e.text
}

function auditColumns(t: Texts): Column<Run>[] {
  return [
    { key: 'time', head: t.kernel.time, width: '136px', cell: ({ event: e }) => <Time at={e.time} form="moment" /> },
    { key: 'severity', head: t.kernel.atLeast, width: '80px', cell: ({ event: e }) => <AuditSeverity name={e.severity} /> },
    {
      key: 'what', head: t.kernel.what, width: 'minmax(150px, 2fr)',
      cell: ({ event: e, count, first }) =>
        e.kind === 'lost' ? (
          <span className={css.lost}>{t.kernel.lostHere(e.lost)}</span>
        ) : (
          <span className={css.run} title={e.text}>
            <span className="cut">{titleOf(t, e)}</span>
            {count > 1 && <Times count={count} first={first} />}
          </span>
        ),
    },
    // A process that ended at once has neither: then what was done stands here.
    { key: 'command', head: t.kernel.commandLine, width: 'minmax(110px, 2fr)', cell: ({ event: e }) => (e.commandLine || e.executable ? <span className="mono" title={e.commandLine || e.executable}>{e.commandLine || e.executable}</span> : <span className="dim" title={e.text}>{titleOf(t, e) === e.text ? '' : e.text}</span>) },
    { key: 'path', head: t.kernel.object, width: 'minmax(70px, 1fr)', cell: ({ event: e }) => <span className={e.path ? 'mono' : 'dim'} title={e.path || e.detail}>{e.path || e.detail}</span> },
    { key: 'service', head: t.services.name, width: 'minmax(88px, 120px)', cell: ({ event: e }) => (e.service ? <ServiceName name={e.service} /> : '') },
    {
      key: 'container', head: t.kernel.container, width: 'minmax(72px, 1fr)',
      cell: ({ event: e }) => <span title={[e.containerName, e.container, e.image, e.pod].filter(Boolean).join('\n')}>{e.containerName || e.pod || (e.container && middle(e.container, 6)) || <span className="dim">{e.host}</span>}</span>,
    },
    { key: 'technique', head: t.kernel.technique, width: '72px', cell: ({ event: e }) => <span className="mono dim">{e.findings[0]?.technique}</span> },
  ]
}

function Times({ count, first }: { count: number; first: string }) {
  const t = useTexts()
  const dates = useDates()
  return <Mark reason={t.kernel.repeatedSince(dates.moment(parseTime(first)))}>{t.kernel.repeated(count)}</Mark>
}
