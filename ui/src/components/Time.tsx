import { useDates } from '../state/dates'
import { parseTime } from '../state/range'
import { useTexts } from '../state/texts'

/** A moment in local time (or as preferred), UTC and the whole date on hover. */
export function Time({ at, form = 'short' }: { at: string | number; form?: 'short' | 'clock' | 'fine' | 'second' | 'moment' | 'ago' }) {
  const t = useTexts()
  const dates = useDates()
  const ms = typeof at === 'number' ? at : parseTime(at)
  // The server says "never" with the year 1.
  if (!Number.isFinite(ms) || ms < 0) return <span className="dim">–</span>
  const iso = typeof at === 'string' ? at : new Date(ms).toISOString()
  return (
    <time dateTime={iso} title={`${dates.full(ms)}\n${t.common.utc(dates.utc(ms))}`}>
      {form === 'ago' ? t.time.ago(Date.now() - ms) : dates[form](ms)}
    </time>
  )
}
