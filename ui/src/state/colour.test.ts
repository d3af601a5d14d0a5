import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { heatColour, inkOn, serviceSlot } from './colour'

const css = readFileSync(new URL('../theme.css', import.meta.url), 'utf8')
const [light, dark] = css.split(":root[data-theme='dark']").map((part) =>
  Object.fromEntries([...part.matchAll(/--([\w-]+): (#[0-9a-f]{6})/g)].map((m) => [m[1]!, m[2]!])),
) as [Record<string, string>, Record<string, string>]

const linear = (hex: string) =>
  [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)) as [number, number, number]
const luminance = (hex: string) => linear(hex).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i]!, 0)
const contrast = (a: string, b: string) => {
  const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p) as [number, number]
  return (x + 0.05) / (y + 0.05)
}

// Full protanopia and deuteranopia (Machado, Oliveira and Fernandes, 2009), then OKLab distance.
const views: number[][][] = [
  [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
]
function lab(hex: string, view: number[][]) {
  const rgb = linear(hex)
  const [r, g, b] = view.map((row) => Math.min(1, Math.max(0, row.reduce((s, k, i) => s + k * rgb[i]!, 0)))) as [number, number, number]
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
  return [0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s, 1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s, 0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s]
}

describe.each([
  ['light', light],
  ['dark', dark],
])('%s theme', (_, t) => {
  test('texts meet WCAG AA on every ground', () => {
    for (const ground of ['bg', 'panel', 'inset', 'hover'])
      for (const ink of ['ink', 'ink-2', 'ink-3', 'accent', 'bad', 'warn', 'good'])
        expect.soft(contrast(t[ink]!, t[ground]!), `${ink} on ${ground}`).toBeGreaterThanOrEqual(4.5)
    for (const kind of ['bad', 'warn', 'good', 'accent'])
      expect.soft(contrast(t[kind]!, t[`${kind}-soft`]!), kind).toBeGreaterThanOrEqual(4.5)
    expect(contrast(t.ink!, t.mark!)).toBeGreaterThanOrEqual(4.5)
  })

  test('service colours stand out from the ground and from each other, also for the colour-blind', () => {
    const set = Array.from({ length: 12 }, (_, i) => t[`s${i}`]!)
    for (const c of set) expect.soft(contrast(c, t.panel!), c).toBeGreaterThanOrEqual(3)
    for (const view of views)
      set.forEach((a, i) => {
        for (const b of set.slice(i + 1)) {
          const [x, y] = [lab(a, view), lab(b, view)]
          expect.soft(Math.hypot(...x.map((v, k) => v - y[k]!)), `${a} ${b}`).toBeGreaterThan(0.06)
        }
      })
  })

  test('kinds of frames, and the sides of a difference, are told apart by the colour-blind', () => {
    const sets = [['go', 'inline', 'c', 'kernel', 'other'], ['even', 'more', 'less']].map((set) => set.map((k) => t[`k-${k}`]!))
    for (const set of sets)
      for (const view of views)
        set.forEach((a, i) => {
          for (const b of set.slice(i + 1)) {
            const [x, y] = [lab(a, view), lab(b, view)]
            expect.soft(Math.hypot(...x.map((v, k) => v - y[k]!)), `${a} ${b}`).toBeGreaterThan(0.1)
          }
        })
    for (const ink of ['k-more-ink', 'k-less-ink']) for (const ground of ['panel', 'hover', 'bg', 'accent-soft']) expect.soft(contrast(t[ink]!, t[ground]!), `${ink} on ${ground}`).toBeGreaterThanOrEqual(4.5)
  })
})

test('slots are stable and spread', () => {
  expect(serviceSlot('order')).toBe(serviceSlot('order'))
  const slots = new Set(Array.from({ length: 60 }, (_, i) => serviceSlot(`service-${i}`)))
  expect(slots.size).toBe(12)
})

test('heat grows in lightness away from the ground', () => {
  const value = (c: string) => c.match(/\d+/g)!.reduce((s, n) => s + Number(n), 0)
  const shares = [0, 0.2, 0.4, 0.6, 0.8, 1]
  const lights = shares.map((s) => value(heatColour(s, false)))
  const darks = shares.map((s) => value(heatColour(s, true)))
  expect(lights).toEqual([...lights].sort((a, b) => b - a))
  expect(darks).toEqual([...darks].sort((a, b) => a - b))
})

test('inkOn', () => expect(['#000000', '#ffffff', '#1d5fa8', '#f6e255'].map(inkOn)).toEqual(['#ffffff', '#101214', '#ffffff', '#101214']))
