// The columns of rate, errors and latency that services and operations share.
// Every figure opens the traces behind it.

import { Link } from '@tanstack/react-router'
import type { Schemas } from '../../api/client'
import type { Column } from '../../components/DataTable'
import { Figure } from '../../components/Sparkline'
import { type Condition, formatFilter } from '../../state/filter'
import type { Texts } from '../../state/texts'
import { keepRange, type Search } from '../../state/url'
import { duration, durationLiteral, percent, rate } from '../../state/units'
import css from './ServicesPage.module.css'

type Row = Pick<Schemas['Service'], 'name' | 'rate' | 'errorRate' | 'p50' | 'p95' | 'p99' | 'count' | 'stored' | 'spark'>

/** From this share of failed requests on the figure is red. */
const failingShare = 0.01

export function tracesOf(conditions: readonly Condition[]): (last: Search) => Search {
  return (last) => ({ ...keepRange(last), q: formatFilter(conditions) })
}

export function redColumns<T extends Row>(t: Texts, conditions: (row: T) => Condition[]): Column<T>[] {
  const figure = (row: T, text: string, extra: Condition[], className = '') => (
    <Link to="/traces" search={tracesOf([...conditions(row), ...extra])} className={`${css.figure} ${className}`}>
      {text}
    </Link>
  )
  const atLeast = (ns: number): Condition[] => (ns > 0 ? [{ field: 'duration', op: '>=', value: durationLiteral(ns) }] : [])
  return [
    {
      key: 'rate', head: t.signal.rateHead, width: 'minmax(150px, 1fr)', align: 'end', sort: (s) => s.rate,
      cell: (s) => <Figure values={s.spark.rate}>{figure(s, rate(s.rate), [])}</Figure>,
    },
    {
      key: 'errors', head: t.signal.errorRate, width: 'minmax(150px, 1fr)', align: 'end', sort: (s) => s.errorRate,
      // Failed requests are drawn against all requests, so that one failure in a quiet minute does not look like an outage.
      cell: (s) => (
        <Figure values={s.spark.errors} max={Math.max(...s.spark.rate) / 10} bad>
          {figure(s, percent(s.errorRate), [{ field: 'status', op: '=', value: 'error' }], s.errorRate >= failingShare ? css.bad : s.errorRate === 0 ? 'dim' : '')}
        </Figure>
      ),
    },
    { key: 'p50', head: t.signal.p50, width: '88px', align: 'end', sort: (s) => s.p50, cell: (s) => figure(s, duration(s.p50), atLeast(s.p50)) },
    {
      key: 'p95', head: t.signal.p95, width: 'minmax(170px, 1fr)', align: 'end', sort: (s) => s.p95,
      cell: (s) => <Figure values={s.spark.p95}>{figure(s, duration(s.p95), atLeast(s.p95))}</Figure>,
    },
    { key: 'p99', head: t.signal.p99, width: '88px', align: 'end', sort: (s) => s.p99, cell: (s) => figure(s, duration(s.p99), atLeast(s.p99)) },
  ]
}
