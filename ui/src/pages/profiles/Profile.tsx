// One profile: its head, the ways to look at it, and what is chosen in it.

import { useDeferredValue, useMemo, useRef } from 'react'
import type { ProfileSeries } from '../../api/profiles'
import { Button, IconButton } from '../../components/Button'
import { Mark } from '../../components/Mark'
import { Icon } from '../../components/Icon'
import { Views } from '../../components/Views'
import { useKeys } from '../../state/keys'
import { useTexts } from '../../state/texts'
import { useQuestion, useSetUrl, useUrl } from '../../state/url'
import { percent } from '../../state/units'
import { Compare, Sides } from './Compare'
import { find, type Found, needle } from './find'
import { FlameGraph } from './FlameGraph'
import { FrameStrip } from './FrameStrip'
import { Functions } from './Functions'
import { valueFormat } from './labels'
import { Legend } from './Legend'
import { Pprof } from './Pprof'
import css from './ProfilesPage.module.css'
import { byId, idOf, isMoment, shareOf, type Tree } from './tree'
import type { Base } from './versus'
import { frameText, FrameTip, frameWord } from './words'

interface Props {
  tree: Tree
  unit: string
  truncated: boolean
  profiles: number
  type: string
  series: readonly ProfileSeries[]
  base: Base | undefined
}

export function Profile({ tree, unit, truncated, profiles, type, series, base }: Props) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const question = useQuestion()
  const view = url.view === 'functions' ? 'functions' : 'flame'
  const format = useMemo(() => valueFormat(unit), [unit])
  const words = useDeferredValue(url.find ?? '')
  const test = useMemo(() => needle(words), [words])
  const found = useMemo(() => (typeof test === 'function' ? find(tree, test) : undefined), [tree, test])
  const zoom = useMemo(() => Math.max(0, byId(tree, url.zoom)), [tree, url.zoom])
  const chosen = useMemo(() => byId(tree, url.frame), [tree, url.frame])
  const rootName = t.profiles.everything
  const word = useMemo(() => frameWord(t, tree), [t, tree])
  const choose = (node: number, zoomTo: boolean) => {
    const frame = node === 0 ? undefined : idOf(tree, node)
    // A walk leaves no steps for Back, a zoom does.
    set(zoomTo ? { frame, zoom: frame } : { frame: idOf(tree, node) }, { replace: !zoomTo })
  }
  const reset = () => set({ zoom: undefined, frame: undefined })
  return (
    <div className={css.profile}>
      <div className={css.head}>
        <span>
          {isMoment(type) ? t.profiles.averageOf(t.profiles.types[type] ?? type) : t.profiles.totalOf(t.profiles.types[type] ?? type)} <b>{format(tree.total)}</b>
        </span>
        {isMoment(type) && profiles > 1 && <Mark reason={t.profiles.averagedWhy}>{t.profiles.averaged}</Mark>}
        <span>{t.profiles.profiles(profiles)}</span>
        {truncated && (
          <Mark kind="warn" reason={t.profiles.truncatedWhy}>
            {t.profiles.truncated}
          </Mark>
        )}
        <span className={css.spacer} />
        <Compare series={series} />
        <Pprof question={question} type={type} base={base} service={series.length === 1 ? series[0]!.service : ''} />
      </div>
      {base && <Sides tree={tree} base={base} format={format} />}
      <div className={css.toolbar}>
        <Views label={t.profiles.view} value={view} views={[{ value: 'flame', text: t.profiles.flame }, { value: 'functions', text: t.profiles.functions }]} patch={{ sort: undefined }} />
        <Finder tree={tree} wrong={test === 'wrong'} found={found} chosen={chosen} walk={view === 'flame'} onJump={(i) => choose(i, false)} />
        {view === 'flame' && zoom !== 0 && (
          <Button small icon="wider" onClick={reset}>
            {t.profiles.resetZoom}
          </Button>
        )}
        <span className={css.spacer} />
        <Legend tree={tree} />
      </div>
      {view === 'functions' ? (
        <Functions tree={tree} found={found} format={format} />
      ) : (
        <>
          <div className={css.graph}>
            <FlameGraph
              label={t.profiles.flame}
              tree={tree}
              rootName={rootName}
              zoom={zoom}
              chosen={chosen}
              onChoose={choose}
              onReset={reset}
              hits={found?.hits}
              word={word}
              describe={(node) => frameText({ t, tree, node, rootName, format })}
              tip={(node) => <FrameTip t={t} tree={tree} node={node} rootName={rootName} format={format} />}
            />
          </div>
          <FrameStrip tree={tree} node={chosen} format={format} />
        </>
      )}
    </div>
  )
}

interface FinderProps {
  tree: Tree
  wrong: boolean
  found: Found | undefined
  chosen: number
  /** Whether there are frames to walk through. */
  walk: boolean
  onJump: (node: number) => void
}

function Finder({ tree, wrong, found, chosen, walk, onJump }: FinderProps) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const input = useRef<HTMLInputElement>(null)
  const nodes = walk ? (found?.nodes ?? []) : []
  const jump = (by: number) => {
    if (nodes.length === 0) return
    const at = nodes.indexOf(chosen)
    onJump(nodes[at < 0 ? (by > 0 ? 0 : nodes.length - 1) : (at + by + nodes.length) % nodes.length]!)
  }
  useKeys({ f: () => input.current?.focus(), n: () => jump(1), N: () => jump(-1) })
  const share = found && percent(shareOf(found.value, tree.total))
  const baseShare = found && percent(shareOf(found.base, tree.baseTotal))
  return (
    <>
      <div className={css.find}>
        <Icon name="search" size={14} />
        <input
          ref={input}
          type="search"
          value={url.find ?? ''}
          aria-label={t.profiles.find}
          aria-invalid={wrong}
          placeholder={t.profiles.findHint}
          spellCheck={false}
          autoComplete="off"
          onChange={(e) => set({ find: e.target.value || undefined }, { replace: true })}
          onKeyDown={(e) => {
            if (e.key === 'Enter') jump(e.shiftKey ? -1 : 1)
            if (e.key !== 'Escape') return
            e.stopPropagation()
            if (url.find) set({ find: undefined }, { replace: true })
            else input.current?.blur()
          }}
        />
      </div>
      <span className={css.found} role="status">
        {wrong ? t.profiles.findWrong : found && (found.functions === 0 ? t.profiles.foundNone : tree.compared ? t.profiles.foundBoth(found.functions, baseShare!, share!) : t.profiles.found(found.functions, share!))}
      </span>
      {nodes.length > 0 && (
        <>
          <IconButton small icon="up" label={t.trace.previous} shortcut="N" onClick={() => jump(-1)} />
          <IconButton small icon="down" label={t.trace.next} shortcut="n" onClick={() => jump(1)} />
        </>
      )}
    </>
  )
}
