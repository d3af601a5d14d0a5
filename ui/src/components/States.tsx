// What stands in a place that has nothing to show: it loads, it is empty, it
// broke. Every one says what to do next.

import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import { ApiError } from '../api/client'
import { status } from '../api/queries'
import { useTexts } from '../state/texts'
import { useSetUrl, useUrl } from '../state/url'
import { Button } from './Button'
import { CopyButton } from './Copy'
import { Icon } from './Icon'
import css from './States.module.css'

export function Broken({ error, onRetry, compact }: { error: unknown; onRetry?: () => void; compact?: boolean }) {
  const t = useTexts()
  const api = error instanceof ApiError ? error : undefined
  const message = error instanceof Error ? error.message : String(error)
  return (
    <div className={`${css.box} ${compact ? css.compact : ''}`} role="alert">
      <div className={css.head}>
        <span className={css.bad}>
          <Icon name="error" />
        </span>
        <h2>{t.state.failed}</h2>
      </div>
      <p>{api ? (api.status === 0 ? t.state.unreachable : `${t.state.status(api.status)} ${message}`) : message}</p>
      {api?.problems.map((p, i) => (
        <p key={i} className="mono">
          {p.location ? `${p.location}: ` : ''}
          {p.message}
        </p>
      ))}
      {onRetry && (
        <div className={css.row}>
          <Button icon="refresh" onClick={onRetry}>
            {t.common.retry}
          </Button>
        </div>
      )}
      {api && (
        <details>
          <summary>{t.common.details}</summary>
          <pre className={css.detail}>{`GET ${decodeURIComponent(api.url)}\n${api.status || ''} ${message}`}</pre>
        </details>
      )}
    </div>
  )
}

export function Empty({ title, hint, children, compact }: { title: string; hint?: string; children?: ReactNode; compact?: boolean }) {
  return (
    <div className={`${css.box} ${compact ? css.compact : ''}`}>
      <h2>{title}</h2>
      {hint && <p>{hint}</p>}
      {children}
    </div>
  )
}

/** Nothing matched: offers to look further. */
export function NoMatch({ title, compact }: { title?: string; compact?: boolean }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  return (
    <Empty title={title ?? t.state.noMatch} hint={t.state.noMatchHint} compact={compact}>
      <div className={css.row}>
        {url.from !== 'now-1d' && (
          <Button icon="wider" onClick={() => set({ from: 'now-1d', to: undefined })}>
            {t.state.widen}
          </Button>
        )}
        {url.q && (
          <Button icon="close" onClick={() => set({ q: undefined })}>
            {t.state.clearFilter}
          </Button>
        )}
      </div>
    </Empty>
  )
}

/** The server has no data at all: how to send some. */
export function NothingYet({ title, hint }: { title?: string; hint?: string }) {
  const t = useTexts()
  return (
    <Empty title={title ?? t.state.nothingYet} hint={hint ?? t.state.nothingHint}>
      <SendCommand />
      <p>{t.state.thenRun}</p>
    </Empty>
  )
}

/** Environment variables that make an OpenTelemetry SDK send here. */
export function SendCommand() {
  const { data } = useQuery(status())
  const listener = data?.listeners.find((l) => /otlp.*http/i.test(l.name))
  const port = listener?.address.split(':').at(-1) ?? '4318'
  // What the server listens on may be a wildcard; the browser knows a name that reaches it.
  return (
    <Command
      text={[
        `export OTEL_EXPORTER_OTLP_ENDPOINT=http://${location.hostname}:${port}`,
        'export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf',
        'export OTEL_SERVICE_NAME=my-service',
      ].join('\n')}
    />
  )
}

export function Command({ text }: { text: string }) {
  return (
    <div className={css.command}>
      {/* Scrollable, so it must be reachable with the keyboard. */}
      <pre tabIndex={0}>{text}</pre>
      <CopyButton text={text} />
    </div>
  )
}

/** Grey lines in place of a text that loads; invisible for the first 150 ms. */
export function Skeleton({ lines = 6 }: { lines?: number }) {
  const t = useTexts()
  return (
    <div className={css.skeleton} role="status" aria-label={t.common.loading}>
      {Array.from({ length: lines }, (_, i) => (
        <div key={i} className={css.line} style={{ width: `${92 - ((i * 37) % 45)}%` }} />
      ))}
    </div>
  )
}

/** A thin line at the top of a part that is being asked for again. */
export function Busy({ on }: { on: boolean }) {
  return on ? <div className={css.busy} aria-hidden="true" /> : null
}

export function NotFound() {
  const t = useTexts()
  return (
    <Empty title={t.state.notFound} hint={t.state.notFoundHint}>
      <Link to="/">{t.state.home}</Link>
    </Empty>
  )
}
