import { memo } from 'react'
import { Icon } from '../../components/Icon'
import { isSeverity, severityColour } from '../../components/Mark'
import { serviceColour } from '../../state/colour'
import { useTexts } from '../../state/texts'
import { duration } from '../../state/units'
import { pieces, type Row, selfTime } from './model'
import css from './Waterfall.module.css'

/** Deeper levels are not set in further, or names would have no room. */
const mostIndent = 24
const indentWidth = 12

export interface LogDot {
  atNs: number
  severity: string
}

export interface RowProps {
  rows: readonly Row[]
  index: number
  top: number
  from: number
  to: number
  /** Width of the time part. */
  pixels: number
  folded: boolean
  chosen: boolean
  cursor: boolean
  /** undefined when nothing is searched for. */
  match: boolean | undefined
  dots: readonly LogDot[] | undefined
  /** What the kernel saw of a connection with trouble. */
  mark: string | undefined
  onFold: (index: number) => void
  onChoose: (index: number) => void
}

export const WaterfallRow = memo(function WaterfallRow(p: RowProps) {
  const t = useTexts()
  const row = p.rows[p.index]!
  const { span } = row
  const state = [css.row, p.match && css.match, p.match === false && css.dimmed, p.cursor && css.cursor, p.chosen && css.chosen].filter(Boolean).join(' ')
  return (
    <div
      className={state}
      style={{ transform: `translateY(${p.top}px)` }}
      role="treeitem"
      aria-level={row.depth + 1}
      aria-expanded={row.children > 0 ? !p.folded : undefined}
      aria-selected={p.chosen}
      aria-label={`${span.service}: ${span.name}, ${duration(span.durationNs)}${span.status === 'error' ? `, ${t.trace.statusError}` : ''}`}
      id={`span-${span.spanId}`}
      onClick={() => p.onChoose(p.index)}
    >
      <div className={css.name}>
        <span className={css.indent} style={{ width: Math.min(row.depth, mostIndent) * indentWidth + 8 }} />
        {row.children > 0 ? (
          <button
            type="button"
            tabIndex={-1}
            className={`${css.fold} ${p.folded ? css.folded : ''}`}
            title={p.folded ? t.trace.expand : t.trace.collapse}
            aria-hidden="true"
            onClick={(e) => {
              e.stopPropagation()
              p.onFold(p.index)
            }}
          >
            {row.children > 999 ? '999+' : row.children}
          </button>
        ) : (
          <span className={css.leaf} />
        )}
        <span className={css.colour} style={{ background: serviceColour(span.service) }} />
        {span.status === 'error' && (
          <span className={css.bad} title={span.statusMessage || t.trace.statusError}>
            <Icon name="error" size={14} />
          </span>
        )}
        <span className={css.service}>{span.service}</span>
        <span className={css.span} title={span.name}>
          {span.name}
        </span>
        {p.mark && (
          <span className={css.skew} title={p.mark}>
            <Icon name="socket" size={14} />
            <span className="hidden-text">{p.mark}</span>
          </span>
        )}
        {span.skewed && (
          <span className={css.skew} title={t.mark.skewed}>
            <Icon name="skew" size={14} />
          </span>
        )}
      </div>
      <Bar {...p} row={row} />
    </div>
  )
})

const percent = (share: number) => `${share * 100}%`

function Bar({ rows, index, row, from, to, pixels, dots }: RowProps & { row: Row }) {
  const { span } = row
  const [bar] = pieces([{ fromNs: span.offsetNs, toNs: span.offsetNs + Math.max(1, span.durationNs) }], from, to, pixels)
  const within = (ns: number) => (ns - from) / (to - from)
  const start = within(span.offsetNs)
  const end = within(span.offsetNs + span.durationNs)
  const colour = serviceColour(span.service)
  return (
    <div className={css.time}>
      {bar && (
        <div className={`${css.bar} ${span.status === 'error' ? css.failed : ''}`} style={{ left: percent(bar.left), width: percent(bar.width) }}>
          <span className={css.cover} style={{ background: colour }} />
          {pieces(selfTime(rows, index), from, to, pixels).map((s, i) => (
            <span key={i} className={css.self} style={{ background: colour, left: percent((s.left - bar.left) / bar.width), width: percent(s.width / bar.width) }} />
          ))}
        </div>
      )}
      {pieces(span.critical, from, to, pixels).map((c, i) => (
        <span key={i} className={css.critical} style={{ left: percent(c.left), width: percent(c.width) }} />
      ))}
      {span.events.map((e, i) => inView(within(e.offsetNs)) && <span key={i} className={css.event} style={{ left: percent(within(e.offsetNs)) }} title={e.name} />)}
      {dots?.map((d, i) => inView(within(d.atNs)) && <span key={i} className={css.logDot} style={{ left: percent(within(d.atNs)), background: isSeverity(d.severity) ? severityColour[d.severity] : undefined }} />)}
      <span className={`${css.label} ${end >= 0.86 && start <= 0.12 ? css.inside : ''}`} style={labelPlace(start, end)}>
        {duration(span.durationNs)}
      </span>
    </div>
  )
}

const inView = (share: number) => share >= 0 && share <= 1

/** After the bar; before it, or in it, where there is no room. */
function labelPlace(start: number, end: number) {
  if (end < 0) return { left: 0, opacity: 0.6 }
  if (start > 1) return { right: 0, opacity: 0.6 }
  if (end < 0.86) return { left: percent(Math.max(0, end)) }
  if (start > 0.12) return { right: percent(1 - start) }
  return { right: 0 }
}
