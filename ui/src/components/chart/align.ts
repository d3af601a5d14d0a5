import { type Series, seriesName } from '../../api/prometheus'
import { seriesColour } from '../../state/colour'
import type { Line } from './TimeChart'

/** Series on common times, with gaps where one has no point. */
export function align(series: readonly Series[]): { times: number[]; lines: Line[] } {
  const times = [...new Set(series.flatMap((s) => s.points.map(([t]) => t)))].sort((a, b) => a - b)
  const index = new Map(times.map((t, i) => [t, i]))
  return {
    times: times.map((t) => t * 1000),
    lines: series.map((s, i) => {
      const values: (number | null)[] = Array.from({ length: times.length }, () => null)
      for (const [t, v] of s.points) values[index.get(t)!] = Number.isFinite(v) ? v : null
      return { name: seriesName(s.labels), values, colour: seriesColour(i) }
    }),
  }
}
