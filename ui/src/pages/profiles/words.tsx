// Frames and differences in words, the same in the tip, the strip below the
// graph, the table and for assistive tools.

import type { Texts } from '../../state/texts'
import { percent } from '../../state/units'
import { type Change, change } from './change'
import css from './ProfilesPage.module.css'
import { fileOf, type Kind, kindOf, nameOf, type Tree } from './tree'

/** From so many times on, a factor reads better than percents. */
const factorFrom = 10

/** +12%, −30%, ×14, new, gone, unchanged. */
export function changeText(t: Texts, c: Change): string {
  switch (c.kind) {
    case 'new':
    case 'gone':
    case 'same': return t.profiles.change[c.kind]
    case 'more': return 1 + c.ratio >= factorFrom ? `×${t.count(1 + c.ratio)}` : `+${percent(c.ratio)}`
    case 'less': return `−${percent(-c.ratio)}`
  }
}

export function ChangeWord({ t, of: c }: { t: Texts; of: Change }) {
  const name = { new: css.more, more: css.more, gone: css.less, less: css.less, same: 'dim' }[c.kind]
  return (
    <span className={name} title={t.profiles.shares(percent(c.baseShare), percent(c.share))}>
      {changeText(t, c)}
    </span>
  )
}

export const changeOf = (tree: Tree, i: number): Change => change(tree.value[i]!, tree.total, tree.base[i]!, tree.baseTotal)

/** The kind of a function by its colour; the word is told too. */
export function KindDot({ t, kind }: { t: Texts; kind: Kind }) {
  return <span className={css.dot} style={{ background: `var(--k-${kind})` }} role="img" aria-label={t.profiles.kinds[kind]} title={t.profiles.kinds[kind]} />
}

interface FrameProps {
  t: Texts
  tree: Tree
  node: number
  rootName: string
  format: (v: number) => string
}

export function FrameTip({ t, tree, node, rootName, format }: FrameProps) {
  const c = changeOf(tree, node)
  const file = fileOf(tree, node)
  return (
    <>
      <div className={css.tipName}>{nameOf(tree, node) || rootName}</div>
      {tree.name[node]! >= 0 && (
        <div className="dim">
          {t.profiles.kinds[kindOf(tree, node)]}
          {file && ` · ${file}`}
        </div>
      )}
      <div>
        {t.profiles.valueShare(format(tree.value[node]!), percent(c.share))}
        <span className="dim">
          {' · '}
          {t.profiles.self} {format(tree.self[node]!)}
        </span>
      </div>
      {tree.compared && (
        <div>
          <span className="dim">
            {t.profiles.base} {t.profiles.valueShare(format(tree.base[node]!), percent(c.baseShare))} →{' '}
          </span>
          <ChangeWord t={t} of={c} />
        </div>
      )}
    </>
  )
}

/** A frame in one sentence. */
export function frameText({ t, tree, node, rootName, format }: FrameProps): string {
  const c = changeOf(tree, node)
  const value = t.profiles.valueShare(format(tree.value[node]!), percent(c.share))
  const what = tree.name[node]! < 0 ? rootName : t.profiles.nameKind(nameOf(tree, node), t.profiles.kinds[kindOf(tree, node)] ?? '')
  return t.list([what, value, ...(tree.compared ? [changeText(t, c)] : []), t.profiles.depth(tree.depth[node]!)])
}

/** What the frames of a comparison say after their names; nothing where nothing changed. */
export function frameWord(t: Texts, tree: Tree): ((node: number) => string) | undefined {
  if (!tree.compared) return undefined
  return (node) => {
    const c = changeOf(tree, node)
    return c.kind === 'same' ? '' : changeText(t, c)
  }
}
