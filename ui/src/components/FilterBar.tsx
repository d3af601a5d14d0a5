// The filter of a page as chips, and a line that completes fields, operators
// and values from the data.

import { type KeyboardEvent, type ReactNode, useId, useRef, useState } from 'react'
import { type Condition, FilterError, formatCondition, formatFilter, parseFilter, type Signal, tryParse, withCondition } from '../state/filter'
import { useKeys } from '../state/keys'
import { useTexts } from '../state/texts'
import { useSetUrl, useUrl } from '../state/url'
import { IconButton } from './Button'
import css from './FilterBar.module.css'
import { Icon } from './Icon'
import { type Known, type Suggestion, useSuggestions } from './suggestions'

/** The filter in the URL. */
export function FilterBar({ signal, placeholder, within, extra }: Pick<Props, 'signal' | 'within' | 'extra'> & { placeholder?: string }) {
  const url = useUrl()
  const set = useSetUrl()
  const t = useTexts()
  return (
    <FilterInput
      signal={signal}
      label={t.filter.label}
      placeholder={placeholder ?? { traces: t.filter.placeholder, logs: t.filter.placeholderLogs, profiles: t.filter.placeholderProfiles, network: t.kernel.placeholder }[signal]}
      value={url.q ?? ''}
      onChange={(q) => set({ q: q || undefined })}
      within={within}
      extra={extra}
    />
  )
}

interface Props {
  signal: Signal
  label: string
  placeholder: string
  value: string
  onChange: (filter: string) => void
  /** Completes from the rows of this filter instead of those of the page. */
  within?: string
  /** A time, in Unix milliseconds, close to these rows. */
  at?: number
  /** A second filter of the page: / is not for it. */
  quiet?: boolean
  /** What completes the line instead of the server. */
  known?: Known
  /** Chips of the page that are no part of the filter. */
  extra?: ReactNode
}

export function FilterInput({ signal, label, placeholder, value, onChange, within, at, quiet, known, extra }: Props) {
  const t = useTexts()
  const id = useId()
  const input = useRef<HTMLInputElement>(null)
  const [text, setText] = useState('')
  const [open, setOpen] = useState(false)
  const [chosen, setChosen] = useState(-1)
  const [error, setError] = useState('')
  const unreadable = value !== '' && tryParse(value).length === 0
  const conditions = tryParse(value)
  const { title, suggestions } = useSuggestions(signal, text, within ?? value, open, at, known)

  useKeys({ '/': () => input.current?.focus() }, !quiet)

  const commit = (next: string) => {
    try {
      const added = parseFilter(next, signal)
      if (added.length > 0) onChange(formatFilter(added.reduce<Condition[]>((all, c) => withCondition(all, c), conditions)))
      type('')
    } catch (e) {
      if (!(e instanceof FilterError)) throw e
      setError(`${t.filter.unreadable(e.rest)} — ${t.filter.wrong(e.reason)}`)
    }
  }
  const type = (next: string) => {
    setText(next)
    setChosen(-1)
    setError('')
  }
  const accept = (s: Suggestion) => (s.done ? commit(s.text) : type(s.text))
  const remove = (i: number) => onChange(formatFilter(conditions.filter((_, k) => k !== i)))
  const edit = (i: number) => {
    setText(formatCondition(conditions[i]!))
    remove(i)
    input.current?.focus()
  }

  const onKeyDown = (e: KeyboardEvent) => {
    if (e.nativeEvent.isComposing) return
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key]
    if (step) {
      e.preventDefault()
      setOpen(true)
      // One place before the first stands for the text as it was typed.
      setChosen((c) => ((c + step + 1 + suggestions.length + 1) % (suggestions.length + 1)) - 1)
    } else if (e.key === 'Enter' || (e.key === 'Tab' && chosen >= 0)) {
      const s = suggestions[chosen]
      if (s || text.trim()) {
        e.preventDefault()
        if (s) accept(s)
        else commit(text)
      }
    } else if (e.key === 'Escape') {
      e.stopPropagation()
      if (text) type('')
      else input.current?.blur()
    } else if (e.key === 'Backspace' && text === '' && conditions.length > 0) {
      e.preventDefault()
      edit(conditions.length - 1)
    }
  }

  const expanded = open && suggestions.length > 0 && !error
  return (
    <div className={css.bar} role="group" aria-label={label} onClick={(e) => e.target === e.currentTarget && input.current?.focus()}>
      <Icon name="filter" />
      {extra}
      {conditions.map((c, i) => (
        <Chip key={`${i}${formatCondition(c)}`} condition={c} onEdit={() => edit(i)} onRemove={() => remove(i)} />
      ))}
      {unreadable && (
        <span className={`${css.chip} ${css.wrong}`}>
          <button type="button" className={css.edit} title={t.filter.unreadable(value)} onClick={() => (setText(value), onChange(''), input.current?.focus())}>
            {value}
          </button>
        </span>
      )}
      <input
        ref={input}
        className={css.input}
        value={text}
        placeholder={conditions.length === 0 && !unreadable ? placeholder : t.filter.add}
        spellCheck={false}
        autoComplete="off"
        role="combobox"
        aria-label={label}
        aria-expanded={expanded}
        aria-controls={`${id}list`}
        aria-autocomplete="list"
        aria-activedescendant={chosen >= 0 ? `${id}${chosen}` : undefined}
        onChange={(e) => (type(e.target.value), setOpen(true))}
        onFocus={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onKeyDown={onKeyDown}
      />
      {conditions.length > 1 && <IconButton small icon="close" label={t.filter.clear} onClick={() => onChange('')} />}
      {error && (
        <div className={css.error} role="alert">
          {error}
        </div>
      )}
      <div id={`${id}list`} className={css.list} role="listbox" aria-label={title} hidden={!expanded} onMouseDown={(e) => e.preventDefault()}>
        <div className={css.title} role="presentation">
          {title}
        </div>
        {suggestions.map((s, i) => (
          <div key={s.text} id={`${id}${i}`} role="option" aria-selected={i === chosen} className={css.option} onMouseEnter={() => setChosen(i)} onClick={() => accept(s)}>
            <span className="mono">{s.label}</span>
            {s.note && <span>{s.note}</span>}
          </div>
        ))}
      </div>
    </div>
  )
}

function Chip({ condition, onEdit, onRemove }: { condition: Condition; onEdit: () => void; onRemove: () => void }) {
  const t = useTexts()
  const text = formatCondition(condition)
  return (
    <span className={css.chip}>
      <button type="button" className={css.edit} aria-label={t.filter.edit(text)} title={text} onClick={onEdit}>
        {condition.op === 'text' ? (
          `“${condition.value}”`
        ) : (
          <>
            {condition.field} <span className={css.op}>{condition.op}</span> {condition.op === 'exists' ? '' : condition.value || '""'}
          </>
        )}
      </button>
      <button type="button" className={css.remove} aria-label={t.filter.remove(text)} onClick={onRemove}>
        <Icon name="close" size={10} />
      </button>
    </span>
  )
}
