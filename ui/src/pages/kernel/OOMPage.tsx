import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { kills, type Story } from '../../api/kernel'
import { Button } from '../../components/Button'
import { FilterBar } from '../../components/FilterBar'
import { Icon } from '../../components/Icon'
import { Page } from '../../components/Page'
import { Broken, Busy, Empty, NoMatch, Skeleton } from '../../components/States'
import { Ago, Time } from '../../components/Time'
import { useKeys } from '../../state/keys'
import { useTexts } from '../../state/texts'
import { useQuestion, useSetUrl, useUrl } from '../../state/url'
import css from './Kernel.module.css'
import { NoReceiver, Refused, Tabs } from './Parts'
import { StoryBody, whyOf } from './StoryBody'

/** Records that are kills for want of memory. */
export const oomRecords = 'event_name = kernel.oom'

export default function OOMPage() {
  const t = useTexts()
  const url = useUrl()
  const question = useQuestion()
  const { data, error, refetch, isPending, isFetching, hasNextPage, fetchNextPage } = useInfiniteQuery(kills(question))
  const stories = data?.pages.flatMap((p) => p.stories) ?? []
  const features = data?.pages[0]?.features ?? []
  return (
    <Page
      title={t.kernel.oom}
      heading={t.kernel.title}
      tools={<Tabs />}
      bar={<FilterBar signal="logs" placeholder={t.kernel.placeholderOOM} within={[url.q, oomRecords].filter(Boolean).join(' and ')} />}
    >
      <Refused features={features} feature="oom" />
      <div className={css.scroll} tabIndex={0}>
        <Busy on={isFetching && !isPending} />
        {error && stories.length === 0 ? (
          <Broken error={error} onRetry={() => void refetch()} />
        ) : isPending ? (
          <Skeleton lines={14} />
        ) : stories.length === 0 ? (
          question.filter ? <NoMatch /> : features.length === 0 ? <NoReceiver /> : <Empty title={t.kernel.noKills} hint={features.some((f) => f.feature === 'oom' && f.up) ? t.kernel.noKillsHint : undefined} />
        ) : (
          <Stories stories={stories} />
        )}
        {hasNextPage && (
          <div className={css.tools}>
            <Button onClick={() => void fetchNextPage()} disabled={isFetching}>
              {t.common.loadMore}
            </Button>
          </div>
        )}
      </div>
    </Page>
  )
}

function Stories({ stories }: { stories: readonly Story[] }) {
  const url = useUrl()
  const set = useSetUrl()
  const [cursor, setCursor] = useState(-1)
  // The newest is open unless another one is, or none: "-".
  const open = url.log ?? stories[0]?.id
  const toggle = (s: Story) => set({ log: s.id === open ? '-' : s.id }, { replace: true })
  const move = (by: number) => {
    const at = Math.min(stories.length - 1, Math.max(0, cursor + by))
    setCursor(at)
    document.getElementById(`story-${at}`)?.scrollIntoView({ block: 'nearest' })
  }
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    Enter: (e) => {
      const s = stories[cursor]
      if (!s || (e.target as HTMLElement).closest('a, button, summary')) return false
      toggle(s)
    },
  })
  return (
    <div className={css.stories}>
      {stories.map((s, i) => (
        <StoryCard key={s.id} story={s} index={i} open={s.id === open} cursor={i === cursor} onToggle={() => toggle(s)} />
      ))}
    </div>
  )
}

function StoryCard({ story: s, index, open, cursor, onToggle }: { story: Story; index: number; open: boolean; cursor: boolean; onToggle: () => void }) {
  const t = useTexts()
  return (
    <article id={`story-${index}`} className={`${css.story} ${cursor ? css.storyCursor : ''}`} aria-label={t.kernel.killed(s.service || s.executable)}>
      <button type="button" className={css.storyHead} aria-expanded={open} onClick={onToggle}>
        <Icon name={open ? 'down' : 'right'} size={14} />
        <span className={css.bad}>
          <Icon name="error" />
        </span>
        <h2 className="cut">{t.kernel.killed(s.service || s.executable)}</h2>
        <span className={`dim cut ${css.why}`}>{whyOf(s, t)}</span>
        <span className={css.spacer} />
        <span className={css.when}>
          <span className="dim">{s.host}</span>
          <Time at={s.time} form="moment" />
          <span className="dim">
            <Ago at={s.time} />
          </span>
        </span>
      </button>
      {open && <StoryBody story={s} />}
    </article>
  )
}
