// What the pages of the kernel share.

import { Link } from '@tanstack/react-router'
import type { Feature, Level, Signal } from '../../api/kernel'
import { Command, Empty } from '../../components/States'
import { useDates } from '../../state/dates'
import { parseTime } from '../../state/range'
import { type Texts, useTexts } from '../../state/texts'
import { keepFor } from '../../state/url'
import { duration, percent } from '../../state/units'
import css from './Kernel.module.css'

const tabs = [
  { to: '/kernel', name: 'network', signal: 'network' },
  { to: '/kernel/audit', name: 'audit', signal: 'logs' },
  { to: '/kernel/oom', name: 'oom', signal: 'logs' },
] as const

/** The parts of the place, beside its title. */
export function Tabs() {
  const t = useTexts()
  return (
    <nav className={css.tabs} aria-label={t.kernel.title}>
      {tabs.map((tab) => (
        <Link key={tab.to} to={tab.to} search={keepFor(tab.signal)} className={css.tab} activeOptions={{ exact: true, includeSearch: false }}>
          {t.kernel[tab.name]}
        </Link>
      ))}
    </nav>
  )
}

// Each level has a shape and a word, so that colour is never the only sign.
const shapes: Record<Level, React.ReactNode> = {
  ok: <circle cx="5" cy="5" r="3" />,
  warning: <path d="M5 0l5 5-5 5-5-5z" />,
  bad: <path d="M5 .5 9.8 9.5H.2z" />,
}

export function Health({ level }: { level: Level }) {
  const t = useTexts()
  return (
    <span className={`${css.level} ${css[level]}`}>
      <svg width="10" height="10" viewBox="0 0 10 10" fill="currentColor" aria-hidden="true">
        {shapes[level]}
      </svg>
      {t.kernel.level[level]}
    </span>
  )
}

/** A value of a signal in its unit. */
export function signalValue(s: Pick<Signal, 'unit'>, v: number, t: Texts): string {
  return s.unit === 'ns' ? duration(v) : s.unit === 'ratio' ? percent(v) : t.count(v)
}

/** Limits that were passed, with what they stand on. */
export function Signals({ signals }: { signals: readonly Signal[] }) {
  const t = useTexts()
  const dates = useDates()
  if (signals.length === 0) return <p className="dim">{t.kernel.noSignals}</p>
  return (
    <ul className={css.signals}>
      {signals.map((s) => (
        <li key={s.name} className={`${css.signal} ${s.level === 'bad' ? css.signalBad : css.signalWarning}`}>
          <b>{t.kernel.signal[s.name] ?? s.name}</b>{' '}
          <span className="dim">{s.limit > 0 ? t.kernel.overLimit(signalValue(s, s.value, t), signalValue(s, s.limit, t)) : signalValue(s, s.value, t)}</span>
          <div className="dim">{s.over === 'window' ? t.kernel.overWindow : t.kernel.overMoment(dates.clock(parseTime(s.time)))}</div>
          {s.evidence.length > 0 && (
            <ul className={css.evidence}>
              {s.evidence.map((e) => (
                <li key={e}>{e}</li>
              ))}
            </ul>
          )}
        </li>
      ))}
    </ul>
  )
}

/** No receiver has ever told anything: how to start one. */
export function NoReceiver() {
  const t = useTexts()
  return (
    <Empty title={t.kernel.noReceiver} hint={t.kernel.noReceiverHint}>
      <Command text="sudo guanlan up --kernel" />
      <p>{t.kernel.noReceiverAgent}</p>
      <Command text={`sudo guanlan agent --endpoint http://${location.hostname}:4318`} />
    </Empty>
  )
}

/** Says where a feature was refused, and what is missing for it. */
export function Refused({ features, feature }: { features: readonly Feature[]; feature: string }) {
  const t = useTexts()
  const down = features.filter((f) => f.feature === feature && !f.up)
  if (down.length === 0) return null
  return (
    <div className={css.missing} role="status">
      <b>{features.some((f) => f.feature === feature && f.up) ? t.kernel.refused : t.kernel.refusedAll}</b>
      {down.map((f) => (
        <span key={f.host}>{t.kernel.refusedOn(f.feature, f.host, f.missing)}</span>
      ))}
    </div>
  )
}
