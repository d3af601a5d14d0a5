import { useQuery } from '@tanstack/react-query'
import { logVolume, type Question } from '../api/queries'
import { formatFilter, tryParse, withCondition } from '../state/filter'
import { absolute } from '../state/range'
import { useSetUrl, useUrl } from '../state/url'
import { Broken, Busy, Skeleton } from './States'
import { Volume } from './Volume'

const columns = 120

/** Records over time, above a list of them: a stretch becomes the range, a severity part of the filter. */
export function RecordVolume({ question: { start, end, filter }, label, className }: { question: Question; label: string; className: string | undefined }) {
  const set = useSetUrl()
  const { q } = useUrl()
  const { data, error, refetch, isPending, isFetching } = useQuery(logVolume({ start, end, filter }, columns))
  return (
    <section className={className} aria-label={label}>
      <Busy on={isFetching && !isPending} />
      {error ? (
        <Broken compact error={error} onRetry={() => void refetch()} />
      ) : isPending ? (
        <Skeleton lines={5} />
      ) : (
        <Volume
          volume={data}
          onRange={(a, b) => set({ ...absolute({ start: a, end: b }), live: undefined })}
          onSeverity={(severity) => set({ q: formatFilter(withCondition(tryParse(q), { field: 'severity', op: '=', value: severity })) })}
        />
      )}
    </section>
  )
}
