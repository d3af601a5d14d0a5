// Functions of a profile as a table, and for one of them the sandwich: who
// calls it above, what it calls below.

import { useMemo, useState } from 'react'
import { CopyButton } from '../../components/Copy'
import { type Column, DataTable } from '../../components/DataTable'
import { IconButton } from '../../components/Button'
import { Empty } from '../../components/States'
import { useKeys } from '../../state/keys'
import { type Texts, useTexts } from '../../state/texts'
import { parseSort, useSetUrl, useUrl } from '../../state/url'
import { percent } from '../../state/units'
import { change } from './change'
import type { Found } from './find'
import { FlameGraph } from './FlameGraph'
import { callees, callers, type Sum, sums } from './functions'
import { shortFile, shortName } from './labels'
import css from './ProfilesPage.module.css'
import { nameOf, shareOf, type Tree } from './tree'
import { ChangeWord, frameText, FrameTip, frameWord, KindDot } from './words'

interface Props {
  tree: Tree
  found: Found | undefined
  format: (v: number) => string
}

export function Functions({ tree, found, format }: Props) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const all = useMemo(() => sums(tree), [tree])
  const rows = useMemo(() => {
    if (!found) return all
    const names = new Set<string>()
    found.hits.forEach((h, i) => h && names.add(nameOf(tree, i)))
    return all.filter((s) => names.has(s.name))
  }, [all, found, tree])
  const columns = useMemo(() => columnsOf(t, tree, format, url.fn !== undefined), [t, tree, format, url.fn])
  const chosen = useMemo(() => all.find((s) => s.name === url.fn), [all, url.fn])
  return (
    <div className={css.functions}>
      <div className={css.table}>
        {rows.length === 0 ? (
          <Empty title={t.profiles.foundNone} compact />
        ) : (
          <DataTable
            label={t.profiles.functions}
            rows={rows}
            columns={columns}
            rowKey={(s) => s.name}
            selected={url.fn}
            sort={parseSort(url.sort, tree.compared ? '-change' : '-self')}
            onSort={(sort) => set({ sort }, { replace: true })}
            onOpen={(s) => set({ fn: s.name })}
            virtual
            keys
          />
        )}
      </div>
      {chosen && <Sandwich key={chosen.name} tree={tree} of={chosen} format={format} />}
    </div>
  )
}

function columnsOf(t: Texts, tree: Tree, format: (v: number) => string, narrow: boolean): Column<Sum>[] {
  const figure = (value: number, whole: number) => (
    <span className={css.figure}>
      {format(value)} <span className="dim">{percent(shareOf(value, whole))}</span>
    </span>
  )
  const of = (s: Sum) => change(s.total, tree.total, s.baseTotal, tree.baseTotal)
  const ofSelf = (s: Sum) => change(s.self, tree.total, s.baseSelf, tree.baseTotal)
  const points = (c: { share: number; baseShare: number }) => Math.abs(c.share - c.baseShare)
  const out: Column<Sum>[] = [
    {
      key: 'name', head: t.profiles.function, width: 'minmax(180px, 1fr)', sort: (s) => shortName(s.name),
      cell: (s) => (
        <span className={css.function}>
          <KindDot t={t} kind={s.kind} />
          <span className="cut" title={s.file ? `${s.name}\n${s.file}` : s.name}>
            {shortName(s.name)}
          </span>
        </span>
      ),
    },
    { key: 'self', head: t.profiles.self, width: '136px', align: 'end', sort: (s) => s.self, cell: (s) => figure(s.self, tree.total) },
    { key: 'total', head: t.profiles.total, width: '136px', align: 'end', sort: (s) => s.total, cell: (s) => figure(s.total, tree.total) },
  ]
  if (tree.compared)
    out.push(
      { key: 'selfChange', head: t.profiles.selfChange, width: '96px', align: 'end', sort: (s) => points(ofSelf(s)), cell: (s) => <ChangeWord t={t} of={ofSelf(s)} /> },
      { key: 'change', head: t.profiles.totalChange, width: '96px', align: 'end', sort: (s) => points(of(s)), cell: (s) => <ChangeWord t={t} of={of(s)} /> },
    )
  if (!narrow) out.push({ key: 'file', head: t.profiles.file, width: 'minmax(120px, 0.8fr)', sort: (s) => s.file, cell: (s) => <span className="dim" title={s.file}>{shortFile(s.file)}</span> })
  return out
}

function Sandwich({ tree, of, format }: { tree: Tree; of: Sum; format: (v: number) => string }) {
  const t = useTexts()
  const set = useSetUrl()
  const above = useMemo(() => callers(tree, of.name), [tree, of.name])
  const below = useMemo(() => callees(tree, of.name), [tree, of.name])
  const close = () => set({ fn: undefined })
  useKeys({ Escape: close })
  if (!above || !below) return null
  return (
    <section className={css.sandwich} aria-label={t.profiles.sandwichOf(of.name)}>
      <div className={css.sandwichHead}>
        <KindDot t={t} kind={of.kind} />
        <h2 className="mono cut" title={of.name}>
          {of.name}
        </h2>
        <CopyButton text={of.name} label={t.profiles.copyName} />
        <span className={css.spacer} />
        <IconButton icon="close" label={t.common.close} shortcut="Esc" onClick={close} />
      </div>
      <div className={css.facts}>
        <span>
          {t.profiles.self} <b>{t.profiles.valueShare(format(of.self), percent(shareOf(of.self, tree.total)))}</b>
        </span>
        <span>
          {t.profiles.total} <b>{t.profiles.valueShare(format(of.total), percent(shareOf(of.total, tree.total)))}</b>
        </span>
        {of.file && <span className="mono dim cut" title={of.file}>{of.file}</span>}
      </div>
      <h3>{t.profiles.callers}</h3>
      <Part tree={above} label={t.profiles.callers} up format={format} />
      <h3>{t.profiles.callees}</h3>
      <Part tree={below} label={t.profiles.callees} format={format} />
    </section>
  )
}

/** One side of the sandwich; Enter or a click makes a frame's function the middle. */
function Part({ tree, label, up, format }: { tree: Tree; label: string; up?: boolean; format: (v: number) => string }) {
  const t = useTexts()
  const set = useSetUrl()
  const [chosen, setChosen] = useState(-1)
  const rootName = t.profiles.everything
  const word = useMemo(() => frameWord(t, tree), [t, tree])
  return (
    <div className={css.part}>
      <FlameGraph
        label={label}
        tree={tree}
        rootName={rootName}
        zoom={0}
        chosen={chosen}
        up={up}
        word={word}
        onChoose={(i, open) => (open && i > 0 ? set({ fn: nameOf(tree, i) }) : setChosen(i))}
        onReset={() => setChosen(-1)}
        describe={(node) => frameText({ t, tree, node, rootName, format })}
        tip={(node) => <FrameTip t={t} tree={tree} node={node} rootName={rootName} format={format} />}
      />
    </div>
  )
}
