import { Link } from '@tanstack/react-router'
import { useMemo } from 'react'
import type { Story } from '../../api/kernel'
import { jobOf } from '../../api/prometheus'
import { Facts } from '../../components/Attributes'
import { Button } from '../../components/Button'
import { type Line, TimeChart } from '../../components/chart/TimeChart'
import { Id } from '../../components/Copy'
import { type Column, DataTable } from '../../components/DataTable'
import { ServiceName } from '../../components/Mark'
import { absolute, parseTime } from '../../state/range'
import { type Texts, useTexts } from '../../state/texts'
import type { Search } from '../../state/url'
import { bytes, duration, percent } from '../../state/units'
import { formatFilter } from '../../state/filter'
import css from './Kernel.module.css'

/** What the service did is looked for so far before and after the kill. */
const beforeMs = 300_000
const afterMs = 60_000

/** A kill for want of memory: who, why, and what led to it. */
export function StoryBody({ story: s }: { story: Story }) {
  const t = useTexts()
  const columns = useMemo(() => topColumns(t, s), [t, s])
  return (
    <div className={css.storyBody}>
      <p className={css.text}>{t.kernel.story(s.service || s.executable, s.pid, bytes(s.rss), whyOf(s, t))}</p>
      <div className={css.pair}>
        <div>
          <h3>{t.kernel.history}</h3>
          <History story={s} />
        </div>
        <Facts
          facts={[
            [t.services.name, s.service && <ServiceName key="s" name={s.service} />],
            [t.kernel.victim, <span key="v" className="mono">{`${s.executable || s.service} (${s.pid})`}</span>],
            [t.kernel.commandLine, s.commandLine && <span className="mono">{s.commandLine}</span>],
            [t.kernel.held, <span key="h" title={t.kernel.heldHint(bytes(s.anonymous), bytes(s.file), bytes(s.swap))}>{`${bytes(s.rss)} · ${t.kernel.heldHint(bytes(s.anonymous), bytes(s.file), bytes(s.swap))}`}</span>],
            [t.kernel.limit, s.limit > 0 && bytes(s.limit)],
            [t.kernel.usage, s.usage > 0 && bytes(s.usage)],
            [t.kernel.cache, s.pageCache > 0 && bytes(s.pageCache)],
            ['Cgroup', s.limitCgroup && <span className="mono">{s.limitCgroup}</span>],
            [t.kernel.container, s.containerName],
            ['Container ID', s.container && <Id key="c" value={s.container} keep={8} />],
            [t.kernel.image, s.image],
            [t.kernel.pod, s.pod],
            [t.kernel.host, s.host],
            [t.kernel.by, s.by],
            [t.kernel.scoreAdj, s.scoreAdj !== 0 && t.count(s.scoreAdj)],
            [t.kernel.lag, s.lagNs > 0 && duration(s.lagNs)],
          ]}
        />
      </div>
      <div>
        <h3>{t.kernel.top}</h3>
        {s.top.length > 0 ? <DataTable label={t.kernel.top} rows={s.top} columns={columns} rowKey={(u) => String(u.pid)} /> : <p className="dim">{t.kernel.noTop}</p>}
      </div>
      {s.service && (
        <div>
          <h3>{t.kernel.then}</h3>
          <Then story={s} />
        </div>
      )}
    </div>
  )
}

/** What the kill was for: the limit of a container goes by the container's name. */
export function whyOf(s: Story, t: Pick<Texts, 'kernel'>): string {
  if (s.ofHost) return t.kernel.ofHost
  const whose = s.containerName && s.container && s.limitCgroup.includes(s.container) ? s.containerName : s.limitCgroup
  return whose ? t.kernel.limitOf(bytes(s.limit), whose) : t.kernel.limitPlain(bytes(s.limit))
}

/** Usage against the limit, up to the kill. */
function History({ story: s }: { story: Story }) {
  const t = useTexts()
  const { times, lines } = useMemo(() => historyLines(s, t), [s, t])
  if (s.history.length === 0) return <p className="dim">{t.kernel.noHistory}</p>
  return <TimeChart label={t.kernel.history} times={times} lines={lines} start={times[0]!} end={times.at(-1)!} format={bytes} height={180} />
}

/** The samples and the moment of the kill, whose usage is known too. */
export function historyLines(s: Pick<Story, 'time' | 'history' | 'usage' | 'pageCache' | 'limit'>, t: Pick<Texts, 'kernel'>): { times: number[]; lines: Line[] } {
  const at = parseTime(s.time)
  const samples = s.history.map((h) => ({ at: parseTime(h.time), usage: h.usage, cache: h.cache })).filter((h) => h.at < at)
  const all = s.usage > 0 ? [...samples, { at, usage: s.usage, cache: s.pageCache }] : samples
  const lines: Line[] = [{ name: t.kernel.usage, colour: 'bad', area: true, values: all.map((h) => h.usage) }]
  if (all.some((h) => h.cache > 0)) lines.push({ name: t.kernel.cache, colour: 's8', values: all.map((h) => h.cache) })
  if (s.limit > 0) lines.push({ name: t.kernel.limit, colour: 'ink-2', dashed: true, values: all.map(() => s.limit) })
  return { times: all.map((h) => h.at), lines }
}

function Then({ story: s }: { story: Story }) {
  const t = useTexts()
  const at = parseTime(s.time)
  const range: Search = absolute({ start: at - beforeMs, end: at + afterMs })
  const of = { field: 'service.name', op: '=', value: s.service } as const
  const q = formatFilter([of])
  return (
    <div className={css.links}>
      <Link to="/traces" search={{ ...absolute({ start: at - beforeMs, end: at }), q }} tabIndex={-1}>
        <Button icon="traces">{t.kernel.thenSpans}</Button>
      </Link>
      <Link to="/traces" search={{ ...range, q: formatFilter([of, { field: 'status', op: '=', value: 'error' }]) }} tabIndex={-1}>
        <Button icon="error">{t.kernel.thenFailed}</Button>
      </Link>
      <Link to="/logs" search={{ ...range, q }} tabIndex={-1}>
        <Button icon="logs">{t.kernel.thenLogs}</Button>
      </Link>
      <Link to="/metrics" search={{ ...range, expr: `sum by (instance) (go_memory_used_bytes{${jobOf(s.service)}})` }} tabIndex={-1}>
        <Button icon="metrics">{t.kernel.thenMemory}</Button>
      </Link>
      <Link to="/profiles" search={{ ...range, q }} tabIndex={-1}>
        <Button icon="profiles">{t.kernel.thenProfiles}</Button>
      </Link>
      <Link to="/kernel/audit" search={{ ...range, q, sev: 'none' }} tabIndex={-1}>
        <Button icon="shield">{t.kernel.thenAudit}</Button>
      </Link>
      <Link to="/services/$service" params={{ service: s.service }} search={range} tabIndex={-1}>
        <Button icon="services">{t.kernel.thenService}</Button>
      </Link>
    </div>
  )
}

function topColumns(t: Texts, s: Story): Column<Story['top'][number]>[] {
  const whole = s.limit || Math.max(1, ...s.top.map((u) => u.resident))
  return [
    { key: 'name', head: t.kernel.process, width: 'minmax(120px, 1fr)', cell: (u) => <span className={u.pid === s.pid ? css.over : undefined}>{`${u.name} (${u.pid})`}</span> },
    { key: 'exe', head: t.kernel.executable, width: 'minmax(120px, 2fr)', cell: (u) => <span className="mono dim" title={u.executable}>{u.executable}</span> },
    { key: 'resident', head: t.kernel.resident, width: '96px', align: 'end', cell: (u) => bytes(u.resident) },
    { key: 'shared', head: t.kernel.shared, width: '96px', align: 'end', cell: (u) => <span className="dim">{bytes(u.shared)}</span> },
    {
      key: 'share', head: t.kernel.share, width: 'minmax(120px, 1fr)',
      cell: (u) => (
        <span className={css.bar} title={percent(u.resident / whole)}>
          <i className={u.pid === s.pid ? css.barBad : undefined} style={{ width: `${Math.min(100, (100 * u.resident) / whole)}%` }} />
        </span>
      ),
    },
  ]
}
