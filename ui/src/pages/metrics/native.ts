// Native histograms as the cells of a heat map.

import type { Series } from '../../api/prometheus'
import type { Cell, Grid } from '../../components/heat/geometry'

/** The grid of one series: a column is a step, a cell is a bucket. */
export function gridOf(series: Series, startMs: number, endMs: number, stepSeconds: number): Grid {
  const stepMs = stepSeconds * 1000
  const start = Math.floor(startMs / stepMs) * stepMs
  const cells: Cell[] = []
  for (const [t, buckets] of series.histograms ?? []) {
    const x = Math.round((t * 1000 - start) / stepMs)
    for (const b of buckets) if (b.count > 0 && b.hi > 0) cells.push({ x, lo: Math.max(0, b.lo), hi: b.hi, count: b.count, errors: 0 })
  }
  return { start, stepMs, columns: Math.max(1, Math.ceil((endMs - start) / stepMs)), cells }
}
