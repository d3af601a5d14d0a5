import { useTexts } from '../../state/texts'
import { steps } from './change'
import css from './ProfilesPage.module.css'
import { kinds, type Tree } from './tree'

/** What the colours mean. */
export function Legend({ tree }: { tree: Tree }) {
  const t = useTexts()
  if (tree.compared) {
    const shares = Array.from({ length: 2 * steps + 1 }, (_, i) => i - steps)
    return (
      <span className={css.legend}>
        {t.profiles.less}
        <span className={css.scale}>
          {shares.map((l) => (
            <i key={l} style={{ background: l === 0 ? 'var(--k-even)' : `color-mix(in srgb, var(--k-${l > 0 ? 'more' : 'less'}) ${Math.round((0.2 + (0.8 * Math.abs(l)) / steps) * 100)}%, var(--k-even))` }} />
          ))}
        </span>
        {t.profiles.more}
      </span>
    )
  }
  const there = new Set(tree.kinds)
  return (
    <span className={css.legend}>
      {kinds
        .filter((k) => there.has(k))
        .map((k) => (
          <span key={k}>
            <i style={{ background: `var(--k-${k})` }} />
            {t.profiles.kinds[k]}
          </span>
        ))}
    </span>
  )
}
