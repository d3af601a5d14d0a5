// How the share of a frame differs between two sides. Each side is measured by
// its own total: a longer period or more load is no difference.

export interface Change {
  kind: 'same' | 'more' | 'less' | 'new' | 'gone'
  share: number
  baseShare: number
  /** Share over base share, less one: 0.12 is 12 percent more. Infinite for what is new. */
  ratio: number
}

/** Smaller changes are within what sampling makes of the same work. */
const noise = 0.01

export function change(value: number, total: number, base: number, baseTotal: number): Change {
  const share = total > 0 ? value / total : 0
  const baseShare = baseTotal > 0 ? base / baseTotal : 0
  if (base === 0 && value === 0) return { kind: 'same', share, baseShare, ratio: 0 }
  if (base === 0) return { kind: 'new', share, baseShare, ratio: Infinity }
  if (value === 0) return { kind: 'gone', share, baseShare, ratio: -1 }
  const ratio = baseShare > 0 ? share / baseShare - 1 : 0
  const kind = Math.abs(ratio) < noise ? 'same' : ratio > 0 ? 'more' : 'less'
  return { kind, share, baseShare, ratio }
}

/** Steps of colour on each side of "the same". */
export const steps = 4

/** From -steps (gone, or a quarter and less) over 0 to steps (new, or four times and more). */
export function level(c: Change): number {
  if (c.kind === 'new') return steps
  if (c.kind === 'gone') return -steps
  if (c.kind === 'same') return 0
  const doubled = Math.log2(1 + c.ratio)
  const at = Math.min(steps, Math.max(1, Math.ceil((Math.abs(doubled) / 2) * steps)))
  return Math.sign(doubled) * at
}
