import { useQuery } from '@tanstack/react-query'
import { useMemo } from 'react'
import { heat } from '../../api/queries'
import { Button } from '../../components/Button'
import { FilterBar } from '../../components/FilterBar'
import { bandEdge, type Box, type Grid } from '../../components/heat/geometry'
import { HeatLegend, HeatMap } from '../../components/heat/HeatMap'
import { Mark } from '../../components/Mark'
import { Page } from '../../components/Page'
import { SidePanel } from '../../components/SidePanel'
import { Broken, Busy, Skeleton } from '../../components/States'
import { Views } from '../../components/Views'
import { formatFilter, tryParse } from '../../state/filter'
import { useKeys } from '../../state/keys'
import { parseTime } from '../../state/range'
import { useTexts } from '../../state/texts'
import { boxConditions, formatBox, parseBox, useQuestion, useSetUrl, useUrl } from '../../state/url'
import { duration } from '../../state/units'
import { ComparePanel } from './ComparePanel'
import { TraceList } from './TraceList'
import css from './TracesPage.module.css'

/** Time steps of the heat map: a cell is then 8 to 12 pixels wide. */
const heatColumns = 120
const heatHeight = 210

export default function TracesPage() {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const question = useQuestion()
  const box = useMemo(() => parseBox(url.box), [url.box])
  const view = url.view === 'grouped' ? 'grouped' : 'list'
  const clear = () => set({ box: undefined, pick: undefined })
  useKeys({ Escape: clear }, box !== undefined)

  const listed = useMemo(() => {
    if (!box) return question
    const conditions = [...tryParse(question.filter), ...boxConditions(box), ...tryParse(url.pick)]
    return { start: box.start, end: box.end, filter: formatFilter(conditions) }
  }, [question, box, url.pick])

  const service = tryParse(url.q).find((c) => c.field === 'service.name' && c.op === '=')?.value
  return (
    <Page
      title={t.traces.title}
      bar={<FilterBar signal="traces" />}
      related={!box && service !== undefined}
      side={
        box ? (
          <ComparePanel question={question} box={box} service={service} onClose={clear} />
        ) : (
          url.side && service && <SidePanel title={t.related.title} anchor={{ service, start: question.start, end: question.end }} onClose={() => set({ side: undefined })} />
        )
      }
    >
      <Heat box={box && { start: box.start, end: box.end, min: box.minNs, max: box.maxNs }} />
      <div className={css.listHead}>
        <Views label={t.traces.title} value={view} views={[{ value: 'list', text: t.traces.list }, { value: 'grouped', text: t.traces.grouped }]} patch={{ sort: undefined }} />
        {box && (
          <Button small icon="close" onClick={clear} title={t.traces.clearSelection}>
            {t.traces.onlySelected}
          </Button>
        )}
        {url.pick && (
          <Button small icon="close" onClick={() => set({ pick: undefined })}>
            {url.pick}
          </Button>
        )}
      </div>
      <div className={css.list}>
        <TraceList question={listed} grouped={view === 'grouped'} />
      </div>
    </Page>
  )
}

function Heat({ box }: { box?: Box }) {
  const t = useTexts()
  const set = useSetUrl()
  const question = useQuestion()
  const { data, error, refetch, isPending, isFetching } = useQuery(heat(question, heatColumns))
  const grid = useMemo((): Grid | undefined => {
    if (!data) return undefined
    return {
      start: parseTime(data.start),
      stepMs: data.stepNs / 1e6,
      columns: data.columns,
      cells: data.cells.map((c) => ({ x: c.x, lo: bandEdge(c.band), hi: bandEdge(c.band + 1), count: c.count, errors: c.errors })),
    }
  }, [data])
  const failing = data?.cells.some((c) => c.errors > 0) ?? false
  return (
    <section className={css.heat} aria-label={t.traces.heat}>
      <Busy on={isFetching && !isPending} />
      <div className={css.heatHead}>
        <h2>{t.traces.heat}</h2>
        {data && !data.exact && <Mark reason={t.mark.rollup}>{t.mark.rounded}</Mark>}
        <span className={css.help}>{t.traces.heatHelp}</span>
        <span className={css.spacer} />
        <HeatLegend errors={failing} />
      </div>
      {error ? (
        <Broken compact error={error} onRetry={() => void refetch()} />
      ) : grid ? (
        <HeatMap
          label={t.traces.heat}
          grid={grid}
          format={duration}
          countText={t.common.spans}
          height={heatHeight}
          box={box}
          onBox={(b) => set({ box: b && formatBox({ start: b.start, end: b.end, minNs: b.min, maxNs: b.max }), pick: undefined })}
        />
      ) : (
        <div style={{ height: heatHeight }}>
          <Skeleton lines={8} />
        </div>
      )}
    </section>
  )
}
