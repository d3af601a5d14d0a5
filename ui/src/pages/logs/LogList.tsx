import { useVirtualizer } from '@tanstack/react-virtual'
import { memo, type ReactNode, useEffect, useMemo, useRef, useState } from 'react'
import type { Schemas } from '../../api/client'
import { ServiceName, Severity } from '../../components/Mark'
import { Time } from '../../components/Time'
import { useQuestion } from '../../state/url'
import { useKeys } from '../../state/keys'
import { useTexts } from '../../state/texts'
import { fieldOf, highlight } from './record'
import css from './LogList.module.css'

type Log = Schemas['Log']

const rowHeight = 25

interface Props {
  logs: readonly Log[]
  columns: readonly string[]
  wrap: boolean
  /** Words to make stand out. */
  words: readonly string[]
  chosen?: string
  onChoose: (log: Log, how?: { replace?: boolean }) => void
  /** The record whose neighbours these are. */
  anchor?: string
  onEnd?: () => void
  /** How far the list is scrolled; the tail holds back when it is. */
  onScroll?: (top: number) => void
  foot?: ReactNode
}

export function LogList(p: Props) {
  const t = useTexts()
  const scroll = useRef<HTMLDivElement>(null)
  const [cursor, setCursor] = useState(-1)
  const { logs, onEnd } = p
  const virtualizer = useVirtualizer({ count: logs.length, getScrollElement: () => scroll.current, estimateSize: () => rowHeight, overscan: 20, getItemKey: (i) => logs[i]!.id })
  const items = virtualizer.getVirtualItems()
  const last = items.at(-1)?.index ?? -1
  useEffect(() => {
    if (logs.length > 0 && last >= logs.length - 10) onEnd?.()
  }, [last, logs.length, onEnd])
  const anchorRow = useMemo(() => (p.anchor ? logs.findIndex((l) => l.id === p.anchor) : -1), [logs, p.anchor])
  useEffect(() => {
    if (anchorRow >= 0) virtualizer.scrollToIndex(anchorRow, { align: 'center' })
    // eslint-disable-next-line react-hooks/exhaustive-deps -- once, when the anchor is known
  }, [anchorRow])

  const chosenRow = p.chosen === undefined ? -1 : logs.findIndex((l) => l.id === p.chosen)
  const step = (by: number) => {
    const at = Math.min(logs.length - 1, Math.max(0, (chosenRow >= 0 ? chosenRow : cursor) + by))
    const log = logs[at]
    if (!log) return
    setCursor(at)
    virtualizer.scrollToIndex(at)
    if (p.chosen !== undefined) p.onChoose(log, { replace: true })
  }
  useKeys({
    j: () => step(1),
    k: () => step(-1),
    Enter: (e) => {
      const log = logs[cursor]
      if (!log || (e.target as HTMLElement).closest('a, button, summary')) return false
      p.onChoose(log)
    },
  })

  // The day is known where the range is within one.
  const { start, end } = useQuestion()
  const days = p.anchor !== undefined || end - start > 86_400_000
  const grid = { gridTemplateColumns: [days ? '160px' : '92px', '72px', '112px', ...p.columns.map(() => 'minmax(80px, 160px)'), 'minmax(200px, 1fr)'].join(' ') }
  return (
    <div ref={scroll} className={`${css.scroll} ${p.wrap ? css.wrap : ''}`} role="table" aria-label={t.logs.title} aria-rowcount={logs.length + 1} tabIndex={0} onScroll={(e) => p.onScroll?.(e.currentTarget.scrollTop)}>
      <div role="rowgroup">
        <div role="row" className={css.head} style={grid}>
          <span role="columnheader">{t.logs.time}</span>
          <span role="columnheader">{t.logs.severity}</span>
          <span role="columnheader">{t.logs.service}</span>
          {p.columns.map((c) => (
            <span key={c} role="columnheader" title={c}>
              {c}
            </span>
          ))}
          <span role="columnheader">{t.logs.body}</span>
        </div>
      </div>
      <div className={css.rows} style={{ height: virtualizer.getTotalSize() }} role="rowgroup">
        {items.map((i) => {
          const log = logs[i.index]!
          return (
            <LogRow
              key={log.id}
              log={log}
              index={i.index}
              top={i.start}
              grid={grid.gridTemplateColumns}
              columns={p.columns}
              days={days}
              wrap={p.wrap}
              words={p.words}
              look={log.id === p.chosen ? css.chosen : log.id === p.anchor ? css.anchor : i.index === cursor && p.chosen === undefined ? css.cursor : undefined}
              measure={p.wrap ? virtualizer.measureElement : undefined}
              onChoose={p.onChoose}
            />
          )
        })}
      </div>
      {p.foot && <div className={css.foot}>{p.foot}</div>}
    </div>
  )
}

interface RowProps {
  log: Log
  index: number
  top: number
  grid: string
  columns: readonly string[]
  days: boolean
  wrap: boolean
  words: readonly string[]
  look: string | undefined
  measure: ((el: HTMLElement | null) => void) | undefined
  onChoose: Props['onChoose']
}

const loud: Partial<Record<Log['severity'], string | undefined>> = { error: css.error, fatal: css.error, warn: css.warn }

const LogRow = memo(function LogRow({ log, index, top, grid, columns, days, wrap, words, look, measure, onChoose }: RowProps) {
  return (
    <div
      ref={measure}
      data-index={index}
      role="row"
      aria-rowindex={index + 2}
      className={`${css.row} ${loud[log.severity] ?? ''} ${look ?? ''}`}
      style={{ gridTemplateColumns: grid, transform: `translateY(${top}px)` }}
      onClick={() => !getSelection()?.toString() && onChoose(log)}
    >
      <span role="cell">
        <Time at={log.time} form={days ? 'fine' : 'clock'} />
      </span>
      <span role="cell">
        <Severity name={log.severity} />
      </span>
      <span role="cell">
        <ServiceName name={log.service} link={false} />
      </span>
      {columns.map((c) => (
        <span key={c} role="cell" className="mono" title={fieldOf(log, c)}>
          {fieldOf(log, c)}
        </span>
      ))}
      <span role="cell" className={css.body}>
        {/* One line shows no more than this; a body may be megabytes. */}
        <Body text={wrap ? log.body.slice(0, 8000) : log.body.slice(0, 400)} words={words} />
      </span>
    </div>
  )
})

function Body({ text, words }: { text: string; words: readonly string[] }) {
  const parts = highlight(text, words)
  if (parts.length === 1) return text
  return parts.map((part, i) =>
    part.hit ? (
      <mark key={i} className={css.hit}>
        {part.text}
      </mark>
    ) : (
      part.text
    ),
  )
}
