import { type ReactNode } from 'react'
import type { Schemas } from '../../api/client'
import { CopyButton } from '../../components/Copy'
import { type Column, DataTable } from '../../components/DataTable'
import { Mark } from '../../components/Mark'
import { Ago, Time } from '../../components/Time'
import { useTexts } from '../../state/texts'
import { bytes, duration } from '../../state/units'
import css from './SettingsPage.module.css'

type Status = Schemas['Status']
type Store = Status['stores'][number]

/** Above this share of a limit the meter warns. */
const highShare = 0.85

function Facts({ facts }: { facts: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className={css.facts}>
      {facts.map(([k, v]) => (
        <div key={k} style={{ display: 'contents' }}>
          <dt>{k}</dt>
          <dd>{v}</dd>
        </div>
      ))}
    </dl>
  )
}

export function About({ status }: { status: Status }) {
  const t = useTexts()
  return (
    <section className={css.section}>
      <h2>{t.settings.about}</h2>
      <Facts
        facts={[
          [
            t.settings.version,
            <span key="v">
              <b>{status.version || t.common.unknown}</b>{' '}
              {status.ready ? (
                <Mark kind="good" reason={t.settings.readyHint}>
                  {t.settings.ready}
                </Mark>
              ) : (
                <Mark kind="warn" reason={t.settings.notReadyHint}>
                  {t.settings.notReady}
                </Mark>
              )}
            </span>,
          ],
          [t.settings.commit, status.commit ? <span key="c" className="mono">{status.commit.slice(0, 12)}</span> : t.common.unknown],
          [t.settings.go, status.goVersion],
          [t.settings.started, <Time key="s" at={status.started} form="moment" />],
          [t.settings.uptime, duration(status.uptimeNs)],
          [t.settings.folder, <span key="f" className="mono">{status.dataFolder}</span>],
        ]}
      />
    </section>
  )
}

export function Resources({ status }: { status: Status }) {
  const t = useTexts()
  const { memory, disk, journal } = status
  return (
    <section className={css.section}>
      <h2>{t.settings.resources}</h2>
      <Facts
        facts={[
          [t.settings.memory, <Use key="m" used={memory.usedBytes} limit={memory.limitBytes} />],
          [t.settings.heap, bytes(memory.heapBytes)],
          [t.settings.disk, disk.totalBytes > 0 ? t.settings.of(bytes(disk.freeBytes), bytes(disk.totalBytes)) : bytes(disk.freeBytes)],
          [t.settings.journal, `${bytes(journal.bytes)} · ${t.settings.segments(journal.segments)}`],
          [t.settings.replayed, t.count(journal.replayed)],
          [t.settings.broken, journal.broken > 0 ? <b key="b">{t.count(journal.broken)}</b> : t.count(0)],
        ]}
      />
    </section>
  )
}

function Use({ used, limit }: { used: number; limit: number }) {
  const t = useTexts()
  if (limit === 0) return bytes(used)
  const share = Math.min(1, used / limit)
  return (
    <>
      {t.settings.of(bytes(used), bytes(limit))}
      <span className={css.meter}>
        <span className={share > highShare ? css.high : undefined} style={{ width: `${100 * share}%` }} />
      </span>
    </>
  )
}

export function Stores({ status }: { status: Status }) {
  const t = useTexts()
  const columns: Column<Store>[] = [
    { key: 'signal', head: t.settings.signal, width: 'minmax(90px, 1fr)', cell: (s) => t.settings.signals[s.signal] ?? s.signal },
    { key: 'rows', head: t.settings.rows, width: '110px', align: 'end', cell: (s) => t.count(s.rows) },
    { key: 'size', head: t.settings.size, width: '110px', align: 'end', cell: (s) => bytes(s.bytes) },
    { key: 'oldest', head: t.settings.oldest, width: '130px', align: 'end', cell: (s) => <Time at={s.oldest} /> },
    { key: 'newest', head: t.settings.newest, width: '130px', align: 'end', cell: (s) => <Ago at={s.newest} /> },
    { key: 'for', head: t.settings.keptFor, width: '110px', align: 'end', cell: (s) => (s.retentionNs > 0 ? duration(s.retentionNs) : t.settings.unlimited) },
    { key: 'upTo', head: t.settings.keptUpTo, width: '110px', align: 'end', cell: (s) => (s.retentionBytes > 0 ? bytes(s.retentionBytes) : t.settings.unlimited) },
  ]
  return (
    <section className={css.section}>
      <h2>{t.settings.stores}</h2>
      <div className={css.table}>
        <DataTable label={t.settings.stores} rows={status.stores} columns={columns} rowKey={(s) => s.signal} />
      </div>
    </section>
  )
}

export function Drops({ status }: { status: Status }) {
  const t = useTexts()
  return (
    <section className={css.section}>
      <h2>{t.settings.drops}</h2>
      {status.drops.length === 0 ? (
        <p className="dim">{t.settings.noDrops}</p>
      ) : (
        <div className={css.table}>
          <DataTable
            label={t.settings.drops}
            rows={status.drops}
            rowKey={(d) => `${d.signal} ${d.reason}`}
            columns={[
              { key: 'signal', head: t.settings.signal, width: '120px', cell: (d) => t.settings.signals[d.signal] ?? d.signal },
              { key: 'reason', head: t.settings.reason, width: 'minmax(160px, 1fr)', cell: (d) => <span className="mono">{d.reason}</span> },
              { key: 'count', head: t.service.count, width: '110px', align: 'end', cell: (d) => t.count(d.count) },
            ]}
          />
        </div>
      )}
    </section>
  )
}

export function Crash({ status }: { status: Status }) {
  const t = useTexts()
  const crash = status.lastCrash
  if (!crash) return null
  return (
    <section className={css.crash}>
      <h2>{t.settings.crash}</h2>
      <p>
        <Time at={crash.time} form="moment" /> · {crash.reason}
      </p>
      {crash.detail && <pre>{crash.detail}</pre>}
    </section>
  )
}

export function Listeners({ status }: { status: Status }) {
  const t = useTexts()
  const doors: [string, string][] = [
    ...status.listeners.map((l): [string, string] => [l.name, l.address]),
    [t.settings.doorPrometheus, location.origin],
    [t.settings.doorApi, `${location.origin}/guanlan/v1/openapi.json`],
  ]
  return (
    <section className={css.section}>
      <h2>{t.settings.receivers}</h2>
      <Facts
        facts={doors.map(([name, address]) => [
          name,
          <span key={name}>
            <span className="mono">{address}</span> <CopyButton text={address} />
          </span>,
        ])}
      />
      <p className={css.note}>{t.settings.receiversHint}</p>
    </section>
  )
}
