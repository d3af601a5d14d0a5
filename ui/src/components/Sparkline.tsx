import { memo } from 'react'
import css from './Sparkline.module.css'

interface Props {
  values: readonly number[]
  /** The top of the picture; the largest value when left out. */
  max?: number
  bad?: boolean
  width?: number
  height?: number
}

/** The width of a point between two gaps. */
const alone = 4

/** A small picture of a series beside its figure. Negative values are gaps. */
export const Sparkline = memo(function Sparkline({ values, max, bad, width = 80, height = 20 }: Props) {
  // A line along the bottom would look like a figure.
  const some = values.some((v) => v > 0)
  const top = Math.max(max ?? 0, ...values, 1e-12)
  const x = (i: number) => (values.length < 2 ? 0 : (i / (values.length - 1)) * width)
  const y = (v: number) => height - 1 - (v / top) * (height - 2)
  const runs: number[][] = []
  values.forEach((v, i) => {
    if (!some || v < 0 || !Number.isFinite(v)) return
    const last = runs.at(-1)
    if (last && last.at(-1) === i - 1) last.push(i)
    else runs.push([i])
  })
  const at = (i: number) => `${x(i).toFixed(1)} ${y(values[i]!).toFixed(1)}`
  // A single point is drawn as a short dash.
  const dash = (i: number) => `M${Math.min(Math.max(0, x(i) - alone / 2), width - alone).toFixed(1)} ${y(values[i]!).toFixed(1)}h${alone}`
  const line = runs.map((r) => (r.length === 1 ? dash(r[0]!) : `M${r.map(at).join('L')}`)).join('')
  const area = runs.filter((r) => r.length > 1).map((r) => `M${x(r[0]!).toFixed(1)} ${height}L${r.map(at).join('L')}L${x(r.at(-1)!).toFixed(1)} ${height}z`).join('')
  return (
    <svg className={`${css.spark} ${bad ? css.bad : ''}`} width={width} height={height} viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      <path className={css.area} d={area} />
      <path className={css.line} d={line} />
    </svg>
  )
})

/** A figure with its series at the right. */
export function Figure({ children, ...spark }: Props & { children: React.ReactNode }) {
  return (
    <span className={css.cell}>
      {children}
      <Sparkline {...spark} />
    </span>
  )
}
