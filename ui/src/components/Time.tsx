import { useNow } from '../state/clock'
import { type Dates, useDates } from '../state/dates'
import { parseTime } from '../state/range'
import { useTexts } from '../state/texts'

type Form = 'short' | 'clock' | 'fine' | 'second' | 'moment'

/** A moment in local time (or as preferred), UTC and the whole date on hover. */
export function Time({ at, form = 'short' }: { at: string | number; form?: Form }) {
  const dates = useDates()
  return <Moment at={at} dates={dates} text={(ms) => dates[form](ms)} />
}

/** How long ago a moment was. */
export function Ago({ at }: { at: string }) {
  const t = useTexts()
  const dates = useDates()
  const now = useNow()
  return <Moment at={at} dates={dates} text={(ms) => t.time.ago(Math.max(0, now - ms))} />
}

function Moment({ at, dates, text }: { at: string | number; dates: Dates; text: (ms: number) => string }) {
  const t = useTexts()
  const ms = typeof at === 'number' ? at : parseTime(at)
  // The server says "never" with the year 1.
  if (!Number.isFinite(ms) || ms < 0) return <span className="dim">–</span>
  return (
    <time dateTime={typeof at === 'string' ? at : new Date(ms).toISOString()} title={`${dates.full(ms)}\n${t.common.utc(dates.utc(ms))}`}>
      {text(ms)}
    </time>
  )
}
