// Units, written once. Durations come in nanoseconds, sizes in bytes, rates
// per second. A thin space never breaks a figure from its unit.

const nbsp = '\u00a0'

/** Three significant digits, without a trailing .0 for whole numbers. */
function short(n: number): string {
  const digits = n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2
  return String(Number(n.toFixed(digits)))
}

const two = (n: number) => String(n).padStart(2, '0')

/** 850 ns, 12.3 µs, 1.24 ms, 2.05 s, 1 min 20 s, 2 h 05 min, 3 d 04 h; – for none (negative). */
export function duration(ns: number): string {
  if (!Number.isFinite(ns) || ns < 0) return '–'
  if (ns < 999.5) return `${Math.round(ns)}${nbsp}ns`
  if (ns < 999.5e3) return `${short(ns / 1e3)}${nbsp}µs`
  if (ns < 999.5e6) return `${short(ns / 1e6)}${nbsp}ms`
  if (ns < 59.995e9) return `${short(ns / 1e9)}${nbsp}s`
  const s = Math.round(ns / 1e9)
  if (s < 3600) return join(Math.floor(s / 60), 'min', s % 60, 's')
  const min = Math.round(s / 60)
  if (min < 1440) return join(Math.floor(min / 60), 'h', min % 60, 'min')
  const h = Math.round(min / 60)
  return join(Math.floor(h / 24), 'd', h % 24, 'h')
}

function join(a: number, unitA: string, b: number, unitB: string): string {
  return b === 0 ? `${a}${nbsp}${unitA}` : `${a}${nbsp}${unitA}${nbsp}${two(b)}${nbsp}${unitB}`
}

/** A duration as the filter grammar reads it: 1.24ms. */
export function durationLiteral(ns: number): string {
  for (const [size, unit] of [[1e9, 's'], [1e6, 'ms'], [1e3, 'us']] as const)
    if (ns >= size) return `${Number((ns / size).toFixed(3))}${unit}`
  return `${Math.round(ns)}ns`
}

const binary = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

export function bytes(n: number): string {
  if (!Number.isFinite(n)) return '–'
  if (n < 0) return `−${bytes(-n)}`
  let i = 0
  while (n >= 1023.5 && i < binary.length - 1) {
    n /= 1024
    i++
  }
  return `${i === 0 ? Math.round(n) : short(n)}${nbsp}${binary[i]!}`
}

/** A number per second, without its unit: 0.02, 12.3, 1234. */
export function rate(n: number): string {
  if (!Number.isFinite(n) || n < 0) return '–'
  if (n === 0) return '0'
  if (n < 0.005) return '<0.01'
  return n >= 999.5 ? Math.round(n).toLocaleString('en') : short(n)
}

/** A share of 1 in percent. Small but not zero never reads as zero. */
export function percent(share: number): string {
  if (!Number.isFinite(share) || share < 0) return '–'
  const p = share * 100
  if (p === 0) return '0%'
  if (p < 0.01) return '<0.01%'
  if (p > 99.99 && p < 100) return '>99.99%'
  return `${short(p)}%`
}

/** A number of any size on an axis: 0.001, 12, 3.4k, 5M. */
export function si(n: number): string {
  const a = Math.abs(n)
  if (a === 0) return '0'
  for (const [size, unit] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']] as const)
    if (a >= size) return `${Number((n / size).toPrecision(3))}${unit}`
  return a >= 1e-3 ? String(Number(n.toPrecision(3))) : n.toExponential(1)
}

/** The first and the last characters of a long id. */
export function middle(id: string, keep = 6): string {
  return id.length <= keep * 2 + 1 ? id : `${id.slice(0, keep)}…${id.slice(-keep)}`
}
