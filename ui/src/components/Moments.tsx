import { useState } from 'react'
import { useAsOf } from '../state/clock'
import { usePreferences } from '../state/preferences'
import { parseMoment } from '../state/range'
import { useTexts } from '../state/texts'

/** A beginning and an end as they are typed. */
export interface Moments {
  from: string
  to: string
  setFrom: (text: string) => void
  setTo: (text: string) => void
  /** Unix milliseconds; undefined while the text is no time. */
  start: number | undefined
  end: number | undefined
  /** What is wrong with them, in words. */
  wrong: string
}

/** Texts are Unix milliseconds, which are shown as dates in the reader's zone, or what parseMoment reads. */
export function useMoments(first: string, last: string): Moments {
  const t = useTexts()
  const utc = usePreferences().zone === 'utc'
  const now = useAsOf()
  const [from, setFrom] = useState(() => editable(first, utc))
  const [to, setTo] = useState(() => editable(last, utc))
  const read = (text: string) => parseMoment(utc && plainDate.test(text) ? `${text.trim()}Z` : text, now)
  const [start, end] = [read(from), read(to)]
  const wrong = start === undefined || end === undefined ? t.time.wrong : start >= end ? t.time.order : ''
  return { from, to, setFrom, setTo, start, end, wrong }
}

/** The fields of a form. */
export function MomentFields({ moments: m }: { moments: Moments }) {
  const t = useTexts()
  return (
    <>
      <label>
        {t.time.from}
        <input value={m.from} onChange={(e) => m.setFrom(e.target.value)} aria-invalid={m.start === undefined} spellCheck={false} />
      </label>
      <label>
        {t.time.to}
        <input value={m.to} onChange={(e) => m.setTo(e.target.value)} aria-invalid={m.end === undefined} spellCheck={false} />
      </label>
    </>
  )
}

/** How to write them, or what is wrong with them. */
export function MomentHint({ wrong, className }: { wrong: string; className: string | undefined }) {
  const t = useTexts()
  return (
    <p className={wrong ? className : 'dim'} aria-live="polite">
      {wrong || t.time.hint}
    </p>
  )
}

/** A date that does not name its zone. */
const plainDate = /^\s*\d{4}-\d{2}-\d{2}[ T][\d:.]+\s*$/

/** Unix milliseconds as a date that can be edited; the rest as it stands. */
function editable(text: string, utc: boolean): string {
  if (!/^\d{10,13}$/.test(text)) return text
  const ms = parseMoment(text, 0)!
  const shown = new Date(utc ? ms : ms - new Date(ms).getTimezoneOffset() * 60_000)
  return shown.toISOString().slice(0, 19).replace('T', ' ')
}
