// Colours that code must know: of services, and of the cells of a heat map.

export const serviceColours = 12

/** FNV-1a; the same name has the same colour in every session. */
export function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    h ^= text.charCodeAt(i)
    h = Math.imul(h, 0x01000193)
  }
  // The last bits of FNV are weak for short names.
  h ^= h >>> 15
  return h >>> 0
}

export function serviceSlot(name: string): number {
  return hash(name) % serviceColours
}

/** For CSS. */
export function serviceColour(name: string): string {
  return `var(--s${serviceSlot(name)})`
}

/** Resolved theme colours, for canvases. Read again when the theme changes. */
export function themeColours(): { get(name: string): string; service(name: string): string } {
  const style = getComputedStyle(document.documentElement)
  const seen = new Map<string, string>()
  const get = (name: string) => {
    let c = seen.get(name)
    if (c === undefined) seen.set(name, (c = style.getPropertyValue(`--${name}`).trim()))
    return c
  }
  return { get, service: (name) => get(`s${serviceSlot(name)}`) }
}

type Rgb = readonly [number, number, number]

// One hue, monotone in lightness: few is close to the ground, many stands out.
const scales: Record<'light' | 'dark', readonly Rgb[]> = {
  light: [[214, 228, 243], [164, 197, 229], [106, 158, 208], [52, 113, 173], [17, 70, 128], [6, 38, 82]],
  dark: [[28, 44, 64], [34, 68, 108], [41, 98, 158], [66, 137, 205], [125, 183, 236], [208, 232, 255]],
}

/** The colour of a share from 0 to 1. */
export function heatColour(share: number, dark: boolean): string {
  const stops = scales[dark ? 'dark' : 'light']
  const at = Math.min(1, Math.max(0, share)) * (stops.length - 1)
  const i = Math.min(stops.length - 2, Math.floor(at))
  const [a, b] = [stops[i]!, stops[i + 1]!]
  const mix = (k: 0 | 1 | 2) => Math.round(a[k] + (b[k] - a[k]) * (at - i))
  return `rgb(${mix(0)} ${mix(1)} ${mix(2)})`
}

/** The dark or the white ink, whichever reads better on #rrggbb. */
export function inkOn(colour: string): string {
  const channel = (i: number) => {
    const c = parseInt(colour.slice(i, i + 2), 16) / 255
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
  }
  const luminance = 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
  return luminance > 0.192 ? '#101214' : '#ffffff'
}

/** Distinct colours of series that are not services. */
export function seriesColour(i: number): string {
  return `s${(i * 5 + 6) % serviceColours}`
}
