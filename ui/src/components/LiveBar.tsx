import { Button } from './Button'
import { Mark } from './Mark'
import { useTexts } from '../state/texts'
import { useRange, useSetUrl } from '../state/url'
import { rate } from '../state/units'
import type { Tail } from './tail'
import css from './LiveBar.module.css'

/** Turns following on and off, and tells how it goes. */
export function LiveBar({ live, paused, tail, onPause }: { live: boolean; paused: boolean; tail: Tail; onPause: (paused: boolean) => void }) {
  const t = useTexts()
  const set = useSetUrl()
  const { relative } = useRange()
  if (!live)
    return (
      // New records have no place in a range that has ended.
      <Button small icon="play" onClick={() => (onPause(false), set({ live: '1', ...(relative ? {} : { from: undefined, to: undefined }) }, { replace: true }))}>
        {t.logs.live}
      </Button>
    )
  return (
    <span className={css.live} role="group" aria-label={t.logs.live}>
      <span className={`${css.pulse} ${paused || tail.broken ? css.pulseOff : ''}`} />
      <span role="status">{tail.broken ? t.logs.ended : paused ? `${t.logs.paused} · ${t.logs.held(tail.held)}` : t.logs.perSecond(rate(tail.perSecond))}</span>
      {tail.lost > 0 && (
        <Mark kind="warn" reason={t.logs.lost(tail.lost)}>
          −{t.count(tail.lost)}
        </Mark>
      )}
      <Button small icon={paused ? 'play' : 'pause'} aria-pressed={paused} onClick={() => onPause(!paused)}>
        {paused ? t.logs.resume : t.logs.pause}
      </Button>
      <Button small icon="close" onClick={() => set({ live: undefined }, { replace: true })}>
        {t.logs.stop}
      </Button>
    </span>
  )
}
