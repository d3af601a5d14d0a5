import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { useCallback, useMemo, useState } from 'react'
import type { Schemas } from '../../api/client'
import { logContext, logs, type Question, status } from '../../api/queries'
import { Button, IconButton } from '../../components/Button'
import { FilterBar } from '../../components/FilterBar'
import { useKernelHidden } from './KernelChip'
import { Page } from '../../components/Page'
import { SidePanel } from '../../components/SidePanel'
import { Broken, Busy, NoMatch, NothingYet, Skeleton } from '../../components/States'
import { Time } from '../../components/Time'
import { type Condition, formatFilter, tryParse, withCondition } from '../../state/filter'
import { setPreferences, usePreferences } from '../../state/preferences'
import { useTexts } from '../../state/texts'
import { useQuestion, useSetUrl, useUrl } from '../../state/url'
import { FieldList } from './FieldList'
import { LiveBar } from '../../components/LiveBar'
import { LogList } from './LogList'
import { LogPanel } from './LogPanel'
import { Patterns } from './Patterns'
import { useTail } from '../../components/tail'
import { RecordVolume } from '../../components/RecordVolume'
import { Views } from '../../components/Views'
import css from './LogsPage.module.css'

type Log = Schemas['Log']

const pageSize = 200

export default function LogsPage() {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const asked = useQuestion()
  const kernel = useKernelHidden(asked)
  const question = kernel.question
  const { showFields } = usePreferences()
  const [listed, setListed] = useState<Log>()
  const columns = useMemo(() => url.cols?.split(',').filter(Boolean) ?? [], [url.cols])
  const conditions = useMemo(() => tryParse(url.q), [url.q])
  const service = conditions.find((c) => c.field === 'service.name' && c.op === '=')?.value
  const view = url.view === 'patterns' ? 'patterns' : 'list'

  const onFilter = useCallback((c: Condition) => set({ q: formatFilter(withCondition(conditions, c)), view: undefined, around: undefined }), [set, conditions])
  const onChoose = useCallback(
    (log: Log, how?: { replace?: boolean }) => {
      setListed(log)
      set({ log: log.id }, how)
    },
    [set],
  )
  const onColumn = (field: string) => set({ cols: (columns.includes(field) ? columns.filter((c) => c !== field) : [...columns, field]).join(',') || undefined }, { replace: true })
  const shared = { columns, onChoose, chosen: url.log, words: conditions.filter((c) => c.op === 'text').map((c) => c.value) }

  return (
    <Page
      title={t.logs.title}
      bar={<FilterBar signal="logs" extra={kernel.chip} />}
      related={url.log === undefined && service !== undefined}
      side={
        url.log ? (
          <LogPanel id={url.log} listed={listed?.id === url.log ? listed : undefined} onFilter={onFilter} onClose={() => set({ log: undefined })} />
        ) : (
          url.side && service && <SidePanel title={t.related.title} anchor={{ service, start: question.start, end: question.end }} onClose={() => set({ side: undefined })} />
        )
      }
    >
      <RecordVolume question={question} label={t.logs.volume} className={css.head} />
      <div className={css.split}>
        {showFields && !url.around && <FieldList question={question} columns={columns} onColumn={onColumn} onFilter={onFilter} />}
        <div className={css.main}>
          {url.around ? (
            <Context id={url.around} {...shared} />
          ) : view === 'patterns' ? (
            <>
              <Toolbar view={view} />
              <Patterns question={question} onFilter={onFilter} />
            </>
          ) : (
            <Records question={question} {...shared} />
          )}
        </div>
      </div>
    </Page>
  )
}

function Toolbar({ view, children }: { view: 'list' | 'patterns'; children?: React.ReactNode }) {
  const t = useTexts()
  const { wrapLogs, showFields } = usePreferences()
  return (
    <div className={css.toolbar}>
      <IconButton small icon="columns" label={showFields ? t.logs.hideFields : t.logs.showFields} aria-pressed={showFields} onClick={() => setPreferences({ showFields: !showFields })} />
      <Views label={t.logs.title} value={view} views={[{ value: 'list', text: t.logs.list }, { value: 'patterns', text: t.logs.patterns }]} patch={{ live: undefined }} />
      {view === 'list' && (
        <Button small icon="wrap" aria-pressed={wrapLogs} onClick={() => setPreferences({ wrapLogs: !wrapLogs })}>
          {t.logs.wrap}
        </Button>
      )}
      <span className={css.spacer} />
      {children}
    </div>
  )
}

interface Shared {
  columns: readonly string[]
  chosen: string | undefined
  words: readonly string[]
  onChoose: (log: Log, how?: { replace?: boolean }) => void
}

function Records({ question, ...shared }: Shared & { question: Question }) {
  const t = useTexts()
  const url = useUrl()
  const { wrapLogs } = usePreferences()
  const live = url.live === '1'
  const [paused, setPaused] = useState(false)
  const [away, setAway] = useState(false)
  const { data, error, refetch, isPending, isFetching, hasNextPage, fetchNextPage } = useInfiniteQuery(logs(question, pageSize))
  const tail = useTail(question.filter ?? '', live, paused || away)
  const rows = useMemo(() => {
    const stored = data?.pages.flatMap((p) => p.logs) ?? []
    if (tail.logs.length === 0) return stored
    const seen = new Set(tail.logs.map((l) => l.id))
    return [...tail.logs, ...stored.filter((l) => !seen.has(l.id))]
  }, [data, tail.logs])
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetching) void fetchNextPage()
  }, [hasNextPage, isFetching, fetchNextPage])

  const foot = error ? <Broken compact error={error} onRetry={() => void fetchNextPage()} /> : isFetching ? t.common.loading : hasNextPage ? null : t.logs.end
  return (
    <>
      <Toolbar view="list">
        <LiveBar live={live} paused={paused} tail={tail} onPause={setPaused} />
      </Toolbar>
      {live && away && tail.held > 0 && (
        <Button
          icon="up"
          look="primary"
          small
          className={css.held}
          onClick={() => {
            tail.resume()
            setAway(false)
            document.querySelector(`[aria-label="${t.logs.title}"][role=table]`)?.scrollTo({ top: 0 })
          }}
        >
          {t.logs.held(tail.held)}
        </Button>
      )}
      <Busy on={isFetching && !isPending} />
      {error && rows.length === 0 ? (
        <Broken error={error} onRetry={() => void refetch()} />
      ) : isPending ? (
        <Skeleton lines={16} />
      ) : rows.length === 0 ? (
        live ? <p className={css.note}>{t.logs.waiting}</p> : <NoLogs filtered={Boolean(url.q)} />
      ) : (
        <LogList logs={rows} wrap={wrapLogs} onEnd={onEnd} onScroll={(top) => live && setAway(top > 60)} foot={foot} {...shared} />
      )}
    </>
  )
}

/** Tells a filter that is too narrow from a server that has no logs at all. */
function NoLogs({ filtered }: { filtered: boolean }) {
  const t = useTexts()
  const { data } = useQuery(status())
  const stored = data?.stores.find((s) => s.signal === 'logs')
  return !filtered && stored?.rows === 0 ? <NothingYet /> : <NoMatch title={filtered ? undefined : t.state.nothingLogs} />
}

/** So many records before and after, and how many more at a click. */
const contextStep = 25
const mostContext = 500

function Context({ id, ...shared }: Shared & { id: string }) {
  const t = useTexts()
  const set = useSetUrl()
  const { wrapLogs } = usePreferences()
  const [n, setN] = useState(contextStep)
  const { data, error, refetch, isPending, isFetching } = useQuery(logContext(id, n))
  const anchor = data?.logs.find((l) => l.id === id)
  return (
    <>
      <div className={css.banner}>
        <Button small icon="left" onClick={() => set({ around: undefined })}>
          {t.logs.backToResults}
        </Button>
        {anchor && (
          <span>
            {t.logs.contextOf(anchor.service)} <Time at={anchor.time} form="fine" />
          </span>
        )}
        <span className={css.spacer} />
        {n < mostContext && (
          <Button small icon="plus" onClick={() => setN(Math.min(mostContext, n * 2))}>
            {t.common.more}
          </Button>
        )}
      </div>
      <Busy on={isFetching && !isPending} />
      {error ? <Broken error={error} onRetry={() => void refetch()} /> : isPending ? <Skeleton lines={16} /> : <LogList logs={data.logs} wrap={wrapLogs} anchor={id} {...shared} />}
    </>
  )
}
