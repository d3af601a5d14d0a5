// Where axes have ticks.

const steps = [
  1, 2, 5, 10, 20, 50, 100, 200, 500,
  1e3, 2e3, 5e3, 10e3, 15e3, 30e3,
  60e3, 120e3, 300e3, 600e3, 900e3, 1800e3,
  3600e3, 7200e3, 10800e3, 21600e3, 43200e3,
  86400e3, 172800e3, 604800e3,
]

/** A step that gives at most the wanted number of ticks over a width in milliseconds. */
export function timeStep(width: number, most: number): number {
  return steps.find((s) => width / s <= most) ?? Math.ceil(width / most / 604800e3) * 604800e3
}

/** Round times from start to end, aligned in a zone that is offset minutes east of UTC. */
export function timeTicks(start: number, end: number, most: number, offset: number): { step: number; ticks: number[] } {
  const step = timeStep(end - start, most)
  const shift = offset * 60_000
  const ticks: number[] = []
  for (let t = Math.ceil((start + shift) / step) * step - shift; t <= end; t += step) ticks.push(t)
  return { step, ticks }
}

/** Round numbers (1, 2, 5 times a power of ten) from lo to hi; more than wanted where there would be one, which is no scale. */
export function linearTicks(lo: number, hi: number, most: number): number[] {
  if (!(hi > lo)) return []
  const rough = (hi - lo) / most
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = power * ([1, 2, 5, 10].find((m) => m * power >= rough * (1 - 1e-9)) ?? 10)
  const ticks: number[] = []
  // Multiplying avoids the drift of adding a fraction again and again.
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; i++) ticks.push(i * step || 0)
  return ticks.length > 1 || most >= enough ? ticks : linearTicks(lo, hi, most + 1)
}

/** So many ticks wanted give two at the least. */
const enough = 8

/** Round sizes (powers of two) from zero or below to hi. */
export function binaryTicks(lo: number, hi: number, most: number): number[] {
  if (!(hi > lo)) return []
  const step = 2 ** Math.ceil(Math.log2((hi - lo) / most))
  const ticks: number[] = []
  for (let i = Math.ceil(lo / step); i * step <= hi; i++) ticks.push(i * step || 0)
  return ticks
}

/** Powers of ten from lo to hi, with 2 and 5 between when there are few. */
export function logTicks(lo: number, hi: number, most: number): number[] {
  if (!(lo > 0 && hi > lo)) return []
  const decades = Math.log10(hi / lo)
  const within = decades * 3 <= most ? [1, 2, 5] : [1]
  const every = Math.max(1, Math.ceil(decades / most))
  const ticks: number[] = []
  for (let e = Math.floor(Math.log10(lo)); e <= Math.log10(hi); e++) {
    if (e % every !== 0) continue
    for (const m of within) {
      const v = m * 10 ** e
      if (v >= lo * (1 - 1e-9) && v <= hi * (1 + 1e-9)) ticks.push(v)
    }
  }
  return ticks
}
