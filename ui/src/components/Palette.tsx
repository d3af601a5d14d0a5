// One line that reaches every place, every service, a trace by its id, and the
// commands.

import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { type KeyboardEvent, useId, useState } from 'react'
import { services } from '../api/queries'
import { quote } from '../state/filter'
import { type Preferences, setPreferences } from '../state/preferences'
import { quickSpans } from '../state/range'
import { catalogues, type Locale, useTexts } from '../state/texts'
import { keepRange, rangePatch, useQuestion, useSetUrl } from '../state/url'
import { middle } from '../state/units'
import { Dialog } from './Dialog'
import { Icon, type IconName } from './Icon'
import css from './Palette.module.css'
import { places } from './Shell'

interface Entry {
  group: string
  text: string
  note?: string
  icon: IconName
  run: () => void
  /** Shown whatever is typed. */
  always?: boolean
}

/** A trace id: 32 hexadecimal digits, or at least 16 of one that was cut. */
const traceId = /^[0-9a-f]{16,32}$/i

export default function Palette({ onClose }: { onClose: () => void }) {
  const t = useTexts()
  const id = useId()
  const [text, setText] = useState('')
  const [at, setAt] = useState(0)
  const entries = useEntries(text)
  const found = matches(entries, text)
  const choose = (e: Entry | undefined) => {
    if (!e) return
    onClose()
    e.run()
  }
  const onKeyDown = (e: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key]
    if (step) {
      e.preventDefault()
      setAt((a) => (a + step + found.length) % Math.max(1, found.length))
    } else if (e.key === 'Enter' && !e.nativeEvent.isComposing) {
      e.preventDefault()
      choose(found[at])
    }
  }
  return (
    <Dialog title={t.palette.label} showTitle={false} onClose={onClose}>
      <input
        className={css.input}
        value={text}
        placeholder={t.palette.placeholder}
        spellCheck={false}
        role="combobox"
        aria-label={t.palette.label}
        aria-expanded
        aria-controls={id}
        aria-activedescendant={found[at] && `${id}${at}`}
        onChange={(e) => (setText(e.target.value), setAt(0))}
        onKeyDown={onKeyDown}
      />
      <div id={id} className={css.list} role="listbox" aria-label={t.palette.label}>
        {found.length === 0 && <div className={css.group}>{t.palette.noMatch}</div>}
        {found.map((e, i) => (
          <div key={e.group + e.text} role="presentation">
            {e.group !== found[i - 1]?.group && <div className={css.group}>{e.group}</div>}
            <div
              id={`${id}${i}`}
              role="option"
              aria-selected={i === at}
              className={css.item}
              ref={(el) => void (i === at && el?.scrollIntoView({ block: 'nearest' }))}
              onMouseMove={() => setAt(i)}
              onClick={() => choose(e)}
            >
              <Icon name={e.icon} />
              <span>{e.text}</span>
              {e.note && <span className={css.note}>{e.note}</span>}
            </div>
          </div>
        ))}
      </div>
      <div className={css.foot}>{t.palette.hint}</div>
    </Dialog>
  )
}

function useEntries(text: string): Entry[] {
  const t = useTexts()
  const navigate = useNavigate()
  const setUrl = useSetUrl()
  const { start, end } = useQuestion()
  const { data } = useQuery(services({ start, end }))
  const words = text.trim()
  const out: Entry[] = []
  if (traceId.test(words)) {
    out.push({
      group: t.palette.places, icon: 'traces', text: t.palette.openTrace(middle(words, 8)), always: true,
      run: () => void navigate({ to: '/traces/$traceId', params: { traceId: words.toLowerCase() }, search: keepRange }),
    })
  }
  for (const p of places)
    out.push({ group: t.palette.places, icon: p.icon, text: t.nav[p.name], note: `g ${p.key}`, run: () => void navigate({ to: p.to, search: p.keep }) })
  for (const s of data?.services ?? [])
    out.push({
      group: t.palette.services, icon: 'services', text: s.name,
      run: () => void navigate({ to: '/services/$service', params: { service: s.name }, search: keepRange }),
    })
  const command = (icon: IconName, label: string, run: () => void) => out.push({ group: t.palette.commands, icon, text: label, run })
  if (words && !traceId.test(words))
    out.push({
      group: t.palette.commands, icon: 'logs', text: t.palette.findLogs(words), always: true,
      run: () => void navigate({ to: '/logs', search: (last) => ({ ...keepRange(last), q: quote(words) }) }),
    })
  for (const theme of ['system', 'light', 'dark'] satisfies Preferences['theme'][])
    command('sun', t.palette.theme(t.settings.themes[theme]!), () => setPreferences({ theme }))
  for (const locale of Object.keys(catalogues) as Locale[])
    command('globe', t.palette.language(catalogues[locale].language), () => setPreferences({ locale }))
  for (const span of quickSpans) command('clock', t.palette.range(t.time.last[span]!), () => setUrl(rangePatch({ from: `now-${span}`, to: 'now' })))
  return out
}

/** Entries with all words of the text; those that begin with it first within their group. */
function matches(entries: Entry[], text: string): Entry[] {
  const words = text.trim().toLowerCase().split(/\s+/)
  const hit = entries.filter((e) => e.always || words.every((w) => e.text.toLowerCase().includes(w)))
  return text.trim() ? hit.slice(0, 50) : hit.filter((e) => e.icon !== 'clock').slice(0, 50)
}
