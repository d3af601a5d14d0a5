// Dates and times in the language and zone of the reader.

import { useMemo } from 'react'
import { usePreferences } from './preferences'
import { useLocale } from './texts'

export interface Dates {
  /** 15:04:05.123 */
  clock(ms: number): string
  /** 15:04:05 */
  second(ms: number): string
  /** Jan 2, 15:04:05.123 */
  fine(ms: number): string
  /** Jan 2, 15:04:05 */
  moment(ms: number): string
  /** Jan 2, 15:04 */
  short(ms: number): string
  /** Jan 2, 2026, 15:04:05.123, with the zone */
  full(ms: number): string
  /** As full, in UTC. */
  utc(ms: number): string
  /** A tick label that is as fine as the step between ticks. */
  tick(ms: number, step: number): string
  /** Both ends, without repeating the day. */
  between(start: number, end: number): [string, string]
  /** Minutes east of UTC. */
  offset(ms: number): number
}

const hms = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' } as const
const hm = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const
const day = { month: 'short', day: 'numeric' } as const

export function makeDates(locale: string, utc: boolean): Dates {
  const timeZone = utc ? 'UTC' : undefined
  const format = (o: Intl.DateTimeFormatOptions) => {
    const f = new Intl.DateTimeFormat(locale, { timeZone, ...o })
    return (ms: number) => (Number.isFinite(ms) ? f.format(ms) : '–')
  }
  const clock = format({ ...hms, fractionalSecondDigits: 3 })
  const second = format(hms)
  const minute = format(hm)
  const short = format({ ...day, ...hm })
  const dayOnly = format(day)
  const date = format({ year: 'numeric', month: 'numeric', day: 'numeric' })
  const sameDay = (a: number, b: number) => date(a) === date(b)
  return {
    clock,
    second,
    short,
    moment: format({ ...day, ...hms }),
    fine: format({ ...day, ...hms, fractionalSecondDigits: 3 }),
    full: format({ year: 'numeric', ...day, ...hms, fractionalSecondDigits: 3, timeZoneName: 'short' }),
    utc: format({ timeZone: 'UTC', year: 'numeric', ...day, ...hms, fractionalSecondDigits: 3 }),
    tick: (ms, step) => {
      if (step < 1000) return clock(ms)
      if (step < 60_000) return second(ms)
      if (step >= 86_400_000) return dayOnly(ms)
      const midnight = minute(ms) === '00:00'
      return midnight ? dayOnly(ms) : minute(ms)
    },
    between: (start, end) => [short(start), sameDay(start, end) ? minute(end) : short(end)],
    offset: (ms) => (utc ? 0 : -new Date(ms).getTimezoneOffset()),
  }
}

export function useDates(): Dates {
  const locale = useLocale()
  const { zone } = usePreferences()
  return useMemo(() => makeDates(locale, zone === 'utc'), [locale, zone])
}
