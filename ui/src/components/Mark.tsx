import { Link } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import { serviceColour } from '../state/colour'
import { useTexts } from '../state/texts'
import { keepRange } from '../state/url'
import { Tip } from './Button'
import css from './Mark.module.css'

/** One small honest word, with its reason on hover and focus. */
export function Mark({ children, reason, kind }: { children: ReactNode; reason: ReactNode; kind?: 'warn' | 'bad' | 'good' | 'accent' }) {
  return (
    <Tip text={reason}>
      <button type="button" className={`${css.mark} ${kind ? css[kind] : ''}`}>
        {children}
      </button>
    </Tip>
  )
}

/** A service's name in its colour; a link to its page unless said otherwise. */
export function ServiceName({ name, link = true }: { name: string; link?: boolean }) {
  const inner = (
    <>
      <span className={css.dot} style={{ background: serviceColour(name) }} />
      <span className="cut">{name}</span>
    </>
  )
  return link ? (
    <Link to="/services/$service" params={{ service: name }} search={keepRange} className={css.service} title={name}>
      {inner}
    </Link>
  ) : (
    <span className={css.service} title={name}>
      {inner}
    </span>
  )
}

export const severities = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'unset'] as const
export type SeverityName = (typeof severities)[number]

export function isSeverity(s: string): s is SeverityName {
  return (severities as readonly string[]).includes(s)
}

/** The token that paints a severity in charts. */
export const severityColour: Record<SeverityName, string> = {
  fatal: 'var(--sev-fatal)',
  error: 'var(--sev-error)',
  warn: 'var(--sev-warn)',
  info: 'var(--sev-info)',
  debug: 'var(--sev-debug)',
  trace: 'var(--sev-trace)',
  unset: 'var(--sev-unset)',
}

// Each severity also has a shape, so that colour is never the only sign.
const shapes: Record<SeverityName, ReactNode> = {
  fatal: <path d="M1 1h8v8H1z" />,
  error: <path d="M5 .5 9.8 9.5H.2z" />,
  warn: <path d="M5 0l5 5-5 5-5-5z" />,
  info: <circle cx="5" cy="5" r="3.5" />,
  debug: <circle cx="5" cy="5" r="3" fill="none" stroke="currentColor" strokeWidth="1.5" />,
  trace: <circle cx="5" cy="5" r="1.5" />,
  unset: <path d="M1 4.3h8v1.4H1z" />,
}
const classOf: Record<SeverityName, string | undefined> = {
  fatal: css.sFatal, error: css.sError, warn: css.sWarn, info: css.sInfo, debug: css.sDebug, trace: css.sTrace, unset: css.sUnset,
}

export function Severity({ name }: { name: string }) {
  const t = useTexts()
  const s = isSeverity(name) ? name : 'unset'
  return (
    <span className={`${css.severity} ${classOf[s]}`}>
      <svg width="10" height="10" viewBox="0 0 10 10" fill="currentColor" aria-hidden="true">
        {shapes[s]}
      </svg>
      {t.severity[s]}
    </span>
  )
}
