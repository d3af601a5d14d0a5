import type { ReactNode } from 'react'
import { Button } from '../../components/Button'
import { CopyButton } from '../../components/Copy'
import { useTexts } from '../../state/texts'
import { useSetUrl } from '../../state/url'
import { percent } from '../../state/units'
import css from './ProfilesPage.module.css'
import { fileOf, kindOf, nameOf, shareOf, type Tree } from './tree'
import { changeOf, ChangeWord, KindDot } from './words'

/** The chosen frame. It always has its place, so that the graph does not jump. */
export function FrameStrip({ tree, node, format }: { tree: Tree; node: number; format: (v: number) => string }) {
  const t = useTexts()
  const set = useSetUrl()
  if (node <= 0)
    return (
      <section className={css.strip} aria-label={t.profiles.frame}>
        <p className="dim">{t.profiles.flameHelp}</p>
      </section>
    )
  const name = nameOf(tree, node)
  const file = fileOf(tree, node)
  const c = changeOf(tree, node)
  const parent = tree.parent[node]!
  return (
    <section className={css.strip} aria-label={t.profiles.frame}>
      <div className={css.stripHead}>
        <KindDot t={t} kind={kindOf(tree, node)} />
        <span className="mono cut" title={name}>
          {name}
        </span>
        <CopyButton text={name} label={t.profiles.copyName} />
        <span className={css.spacer} />
        <Button small icon="search" onClick={() => set({ find: name })}>
          {t.profiles.findAll}
        </Button>
        <Button small icon="columns" onClick={() => set({ view: 'functions', fn: name, sort: undefined })}>
          {t.profiles.sandwich}
        </Button>
      </div>
      <div className={css.facts}>
        <Fact name={t.profiles.total}>{t.profiles.valueShare(format(tree.value[node]!), percent(c.share))}</Fact>
        <Fact name={t.profiles.self}>{t.profiles.valueShare(format(tree.self[node]!), percent(shareOf(tree.self[node]!, tree.total)))}</Fact>
        {parent > 0 && <Fact name={t.profiles.ofCaller}>{percent(shareOf(tree.value[node]!, tree.value[parent]!))}</Fact>}
        {tree.compared && (
          <>
            <Fact name={t.profiles.base}>{t.profiles.valueShare(format(tree.base[node]!), percent(c.baseShare))}</Fact>
            <Fact name={t.profiles.difference}>
              <ChangeWord t={t} of={c} />
            </Fact>
          </>
        )}
        <span className="dim">{t.profiles.kinds[kindOf(tree, node)]}</span>
        {file && (
          <span className={css.file}>
            <span className="mono cut" title={file}>
              {file}
            </span>
            <CopyButton text={file} />
          </span>
        )}
      </div>
    </section>
  )
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <span className={css.fact}>
      <span className="dim">{name}</span> <b>{children}</b>
    </span>
  )
}
