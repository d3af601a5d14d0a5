// Chooses what to compare with, and says what is compared.

import * as Popover from '@radix-ui/react-popover'
import { type FormEvent, useState } from 'react'
import type { ProfileSeries } from '../../api/profiles'
import { Button, IconButton } from '../../components/Button'
import { FilterInput } from '../../components/FilterBar'
import { Mark } from '../../components/Mark'
import { MomentFields, MomentHint, useMoments } from '../../components/Moments'
import { useDates } from '../../state/dates'
import { useTexts } from '../../state/texts'
import { type Search, useQuestion, useSetUrl, useUrl } from '../../state/url'
import css from './ProfilesPage.module.css'
import type { Tree } from './tree'
import { againstValue, allProfiles, apart, type Base, baseOf, swapped } from './versus'

/** Versions that are offered; any other one can be typed. */
const offered = 8

const none: Search = { vs: undefined, vsq: undefined }

export function Compare({ series }: { series: readonly ProfileSeries[] }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const { start, end } = useQuestion()
  const [open, setOpen] = useState(false)
  const choose = (patch: Search) => {
    set({ ...none, ...patch })
    setOpen(false)
  }
  const versions = [...new Set(series.flatMap((s) => s.versions))]
  const periods: [string, string][] = [
    ['before', t.profiles.periodBefore(t.time.span(end - start))],
    ['1d', t.profiles.dayBefore],
    ['7d', t.profiles.weekBefore],
  ]
  return (
    <Popover.Root open={open} onOpenChange={setOpen}>
      <Popover.Trigger asChild>
        <Button small icon="columns" aria-pressed={url.vs !== undefined}>
          {t.profiles.compare}
        </Button>
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content className={`${css.popover} ${css.compare}`} align="end" sideOffset={4} collisionPadding={8} aria-label={t.profiles.compare}>
          <div className={css.choices}>
            <h2>{t.profiles.anotherTime}</h2>
            {periods.map(([vs, text]) => (
              <button key={vs} type="button" aria-pressed={url.vs === vs} onClick={() => choose({ vs })}>
                {text}
              </button>
            ))}
            {versions.length > 1 && (
              <>
                <h2>{t.profiles.anotherVersion}</h2>
                {versions.slice(0, offered).map((v) => (
                  <button key={v} type="button" className="cut" title={v} onClick={() => choose(againstValue(url.q, 'service.version', v, versions))}>
                    {v}
                  </button>
                ))}
              </>
            )}
          </div>
          <Own onChoose={choose} />
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  )
}

/** Any period and any filter. */
function Own({ onChoose }: { onChoose: (patch: Search) => void }) {
  const t = useTexts()
  const url = useUrl()
  const question = useQuestion()
  const base = baseOf(url, question)
  const m = useMoments(String(Math.round(base?.start ?? question.start)), String(Math.round(base?.end ?? question.end)))
  const [filter, setFilter] = useState(base?.filter ?? url.q ?? '')
  const submit = (e: FormEvent) => {
    e.preventDefault()
    if (m.wrong) return
    onChoose({ vs: `${Math.round(m.start!)}-${Math.round(m.end!)}`, vsq: filter === (url.q ?? '') ? undefined : filter || allProfiles })
  }
  return (
    <form className={css.own} onSubmit={submit}>
      <h2>{t.profiles.ownBase}</h2>
      <MomentFields moments={m} />
      <FilterInput signal="profiles" label={t.profiles.baseFilter} placeholder={t.profiles.baseFilter} value={filter} onChange={setFilter} quiet />
      <MomentHint wrong={m.wrong} className={css.wrong} />
      <Button look="primary" type="submit" disabled={m.wrong !== ''}>
        {t.profiles.compare}
      </Button>
    </form>
  )
}

/** Both sides in words, with their totals. */
export function Sides({ tree, base, format }: { tree: Tree; base: Base; format: (v: number) => string }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const dates = useDates()
  const question = useQuestion()
  const other = swapped(url, question)
  const own = apart(base.filter, question.filter)
  const side = (name: string, w: { start: number; end: number; filter: string }, differs: string, total: number) => (
    <span className={css.side}>
      <span className="dim">{name}</span> <b>{format(total)}</b> <span>{t.time.between(...dates.between(w.start, w.end))}</span>
      {differs ? (
        <span className="mono cut" title={w.filter}>
          {differs}
        </span>
      ) : (
        w.filter === '' && own.some(Boolean) && <span className="dim">{t.profiles.allProfiles}</span>
      )}
    </span>
  )
  return (
    <div className={css.sides} role="group" aria-label={t.profiles.compare}>
      {side(t.profiles.base, base, own[0], tree.baseTotal)}
      <span aria-hidden="true">→</span>
      {side(t.profiles.current, question, own[1], tree.total)}
      <Mark reason={t.profiles.normalisedWhy}>{t.profiles.normalised}</Mark>
      {tree.baseTotal === 0 && (
        <Mark kind="warn" reason={t.profiles.noBaseWhy}>
          {t.profiles.noBase}
        </Mark>
      )}
      <span className={css.spacer} />
      {other && (
        <Button small icon="refresh" onClick={() => set(other)}>
          {t.profiles.swap}
        </Button>
      )}
      <IconButton small icon="close" label={t.profiles.stopComparing} onClick={() => set(none)} />
    </div>
  )
}
