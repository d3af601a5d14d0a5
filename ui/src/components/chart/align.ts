import { type Series, seriesName } from '../../api/prometheus'
import { seriesColour } from '../../state/colour'
import type { Line } from './TimeChart'

/** Series on common times, with gaps where one has no point; step is the time between two points, in seconds. */
export function align(series: readonly Series[], step: number): { times: number[]; lines: Line[] } {
  const known = [...new Set(series.flatMap((s) => s.points.map(([t]) => t)))].sort((a, b) => a - b)
  // Where no series has a point there is no time either, and lines would lead across: one time stands for the gap.
  const times = known.flatMap((t, i) => (i > 0 && t - known[i - 1]! > 1.5 * step ? [known[i - 1]! + step, t] : [t]))
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
