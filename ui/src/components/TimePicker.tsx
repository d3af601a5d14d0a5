import * as Popover from '@radix-ui/react-popover'
import { type FormEvent, useEffect, useState } from 'react'
import { refresh, useAsOf } from '../state/clock'
import { useDates } from '../state/dates'
import { useKeys } from '../state/keys'
import { setPreferences, usePreferences } from '../state/preferences'
import { lastSpan, quickSpans, type Range, resolve, shift, widen } from '../state/range'
import { useTexts } from '../state/texts'
import { rangePatch, useRange, useSetUrl } from '../state/url'
import { Button, IconButton } from './Button'
import { Icon } from './Icon'
import { Menu } from './Menu'
import { MomentFields, MomentHint, useMoments } from './Moments'
import css from './TimePicker.module.css'

const refreshChoices = [0, 10, 30, 60, 300]

/** The time range of the page and how it moves. */
export function TimePicker() {
  const t = useTexts()
  const dates = useDates()
  const asOf = useAsOf()
  const { range, relative } = useRange()
  const { refresh: every } = usePreferences()
  const setUrl = useSetUrl()
  const [open, setOpen] = useState(false)
  const set = (r: Range) => {
    // A range that ends now means now, not the last refresh.
    refresh()
    setUrl(rangePatch(r))
    setOpen(false)
  }
  const window = resolve(range, asOf)

  useKeys({
    '[': () => set(shift(window, -0.5)),
    ']': () => set(shift(window, 0.5)),
    '\\': () => set(widen(window, Date.now())),
    r: refresh,
  })
  useEffect(() => {
    if (!every || !relative) return
    const timer = setInterval(() => document.visibilityState === 'visible' && refresh(), every * 1000)
    return () => clearInterval(timer)
  }, [every, relative])

  return (
    <div className={css.bar}>
      <IconButton icon="left" label={t.time.earlier} shortcut="[" onClick={() => set(shift(window, -0.5))} />
      <Popover.Root open={open} onOpenChange={setOpen}>
        <Popover.Trigger asChild>
          <Button icon="clock" className={css.current} aria-label={t.time.range}>
            {describe(range, t, dates.between(window.start, window.end))}
          </Button>
        </Popover.Trigger>
        <Popover.Portal>
          <Popover.Content className={css.panel} align="end" sideOffset={4} collisionPadding={8} aria-label={t.time.range}>
            <div className={css.quick} role="group" aria-label={t.time.quick}>
              {quickSpans.map((s) => (
                <button key={s} type="button" aria-pressed={lastSpan(range) === s} onClick={() => set({ from: `now-${s}`, to: 'now' })}>
                  {t.time.last[s]}
                </button>
              ))}
            </div>
            <Absolute range={range} onApply={set} onWiden={() => set(widen(window, Date.now()))} />
          </Popover.Content>
        </Popover.Portal>
      </Popover.Root>
      <IconButton icon="right" label={t.time.later} shortcut="]" onClick={() => set(shift(window, 0.5))} />
      <IconButton icon="refresh" label={`${t.time.refresh}. ${t.time.asOf(dates.second(asOf))}`} shortcut="r" onClick={refresh} />
      <Menu
        label={t.time.refreshEvery}
        trigger={
          <Button look="plain" small aria-label={t.time.refreshEvery} title={t.time.refreshEvery}>
            {every > 0 && relative && (every < 60 ? `${every} s` : `${every / 60} min`)}
            <Icon name="down" size={12} />
          </Button>
        }
        items={refreshChoices.map((s) => ({
          text: s === 0 ? t.time.never : t.time.seconds(s),
          checked: s === every,
          onSelect: () => setPreferences({ refresh: s }),
        }))}
      />
    </div>
  )
}

function describe(range: Range, t: ReturnType<typeof useTexts>, [from, to]: [string, string]): string {
  const span = lastSpan(range)
  if (span) return t.time.last[span] ?? t.time.lastSpan(span)
  return t.time.between(from, to)
}

function Absolute({ range, onApply, onWiden }: { range: Range; onApply: (r: Range) => void; onWiden: () => void }) {
  const t = useTexts()
  const m = useMoments(range.from, range.to)
  const submit = (e: FormEvent) => {
    e.preventDefault()
    if (m.wrong) return
    const keep = (text: string, ms: number) => (text.trim().startsWith('now') ? text.trim() : String(ms))
    onApply({ from: keep(m.from, m.start!), to: keep(m.to, m.end!) })
  }
  return (
    <form className={css.form} onSubmit={submit}>
      <h3>{t.time.absolute}</h3>
      <MomentFields moments={m} />
      <MomentHint wrong={m.wrong} className={css.wrong} />
      <div className={css.moves}>
        <Button look="primary" type="submit" disabled={m.wrong !== ''}>
          {t.time.apply}
        </Button>
        <Button icon="wider" onClick={onWiden}>
          {t.time.widen}
        </Button>
      </div>
    </form>
  )
}
