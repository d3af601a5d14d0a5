import { useVirtualizer } from '@tanstack/react-virtual'
import { type CSSProperties, type ReactNode, useEffect, useMemo, useRef, useState } from 'react'
import { useKeys } from '../state/keys'
import { useTexts } from '../state/texts'
import css from './DataTable.module.css'
import { Icon } from './Icon'

export interface Column<T> {
  key: string
  head: string
  /** The head is told to assistive tools only. */
  quiet?: boolean
  /** A CSS grid track: 80px, minmax(120px, 2fr). */
  width: string
  align?: 'end'
  cell: (row: T) => ReactNode
  /** What to sort by; without it the column cannot be sorted by. */
  sort?: (row: T) => number | string
}

interface Props<T> {
  label: string
  rows: readonly T[]
  columns: readonly Column<T>[]
  rowKey: (row: T) => string
  /** Enter or a click on the row. */
  onOpen?: (row: T) => void
  /** Key of the row that is selected. */
  selected?: string
  sort?: { column: string; descending: boolean }
  onSort?: (sort: string) => void
  /** Fills its parent and draws only the rows in sight. */
  virtual?: boolean
  /** Whether j, k and Enter are for this table. One a page. */
  keys?: boolean
  /** The end of the list came in sight. */
  onEnd?: () => void
  foot?: ReactNode
}

const rowHeight = 33

export function DataTable<T>(p: Props<T>) {
  const scroll = useRef<HTMLDivElement>(null)
  const [cursor, setCursor] = useState(-1)
  const rows = useMemo(() => sorted(p.rows, p.columns, p.sort), [p.rows, p.columns, p.sort])
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    enabled: p.virtual ?? false,
  })

  const move = (by: number) => {
    const at = Math.min(rows.length - 1, Math.max(0, cursor + by))
    setCursor(at)
    if (p.virtual) virtualizer.scrollToIndex(at)
    else scroll.current?.querySelector(`[data-index="${at}"]`)?.scrollIntoView({ block: 'nearest' })
  }
  useKeys(
    {
      j: () => move(1),
      k: () => move(-1),
      Enter: (e) => {
        const row = rows[cursor]
        // A focused button or link answers to Enter itself.
        if (!row || !p.onOpen || (e.target as HTMLElement).closest('a, button, summary')) return false
        p.onOpen(row)
      },
    },
    p.keys ?? false,
  )

  const items = p.virtual ? virtualizer.getVirtualItems() : []
  const last = items.at(-1)?.index ?? -1
  const { onEnd } = p
  useEffect(() => {
    if (onEnd && rows.length > 0 && last >= rows.length - 5) onEnd()
  }, [last, rows.length, onEnd])

  const grid: CSSProperties = { gridTemplateColumns: p.columns.map((c) => c.width).join(' ') }
  const draw = (row: T, index: number, top?: number) => {
    const key = p.rowKey(row)
    const active = key === p.selected || (p.selected === undefined && index === cursor)
    return (
      <div
        key={key}
        role="row"
        aria-rowindex={index + 2}
        data-index={index}
        aria-selected={p.onOpen ? active : undefined}
        className={`${css.row} ${active ? css.active : ''} ${p.onOpen ? css.openable : ''}`}
        style={top === undefined ? grid : { ...grid, transform: `translateY(${top}px)` }}
        onClick={(e) => {
          if (!p.onOpen || (e.target as HTMLElement).closest('a, button') || getSelection()?.toString()) return
          setCursor(index)
          p.onOpen(row)
        }}
      >
        {p.columns.map((c) => (
          <div key={c.key} role="cell" className={c.align === 'end' ? css.end : undefined}>
            {c.cell(row)}
          </div>
        ))}
      </div>
    )
  }

  return (
    <div className={`${css.table} ${p.virtual ? css.fill : ''}`} role="table" aria-label={p.label} aria-rowcount={rows.length + 1}>
      <div role="rowgroup">
        <div role="row" className={css.head} style={grid}>
          {p.columns.map((c) => (
            <HeadCell key={c.key} column={c} sort={p.sort} onSort={p.onSort} />
          ))}
        </div>
      </div>
      <div ref={scroll} className={`${css.body} ${p.virtual ? `${css.scroll} ${css.virtual}` : ''}`} role="rowgroup" tabIndex={p.virtual ? 0 : undefined}>
        {p.virtual ? (
          <div style={{ height: virtualizer.getTotalSize(), position: 'relative' }} role="presentation">
            {items.map((i) => draw(rows[i.index]!, i.index, i.start))}
          </div>
        ) : (
          rows.map((row, i) => draw(row, i))
        )}
        {p.foot}
      </div>
    </div>
  )
}

function HeadCell<T>({ column, sort, onSort }: { column: Column<T>; sort?: { column: string; descending: boolean }; onSort?: (s: string) => void }) {
  const t = useTexts()
  const on = sort?.column === column.key
  const sortable = column.sort && onSort
  return (
    <div role="columnheader" className={column.align === 'end' ? css.end : undefined} aria-sort={on ? (sort.descending ? 'descending' : 'ascending') : undefined}>
      {sortable ? (
        <button
          type="button"
          className={`${css.sort} ${on ? css.sorted : ''}`}
          title={t.common.sortBy(column.head)}
          // Figures start with the largest, names with A.
          onClick={() => onSort(on ? `${sort.descending ? '' : '-'}${column.key}` : `${column.align === 'end' ? '-' : ''}${column.key}`)}
        >
          {column.head}
          {on && <Icon name={sort.descending ? 'down' : 'up'} size={12} />}
        </button>
      ) : column.quiet ? (
        <span className="hidden-text">{column.head}</span>
      ) : (
        column.head
      )}
    </div>
  )
}

/** A sorted copy; rows that compare equal keep their order. */
export function sorted<T>(rows: readonly T[], columns: readonly Column<T>[], sort?: { column: string; descending: boolean }): readonly T[] {
  const by = columns.find((c) => c.key === sort?.column)?.sort
  if (!by) return rows
  const sign = sort?.descending ? -1 : 1
  return [...rows].sort((a, b) => {
    const [x, y] = [by(a), by(b)]
    return sign * (typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y)))
  })
}
