// Budgets of speed and size. Times are the best of some runs: what the code
// takes, not what else the machine was doing.

import type { Page } from '@playwright/test'
import { expect, prefer, settled, someTrace, test } from './base'
import { hugeTrace } from './otlp'
import { hugeProfile } from './pprof'

const firstContentMs = 500
const initialScriptBytes = 300 * 1024
const totalBytes = 1000 * 1024
const answerMs = 100
const frameMs = 1000 / 60
/** A machine that does other things too. */
const openMs = 4000
const runs = 5
/** Rows of a long list in the page: those in sight and some around them. */
const drawnRows = 100

/** Times say something on a quiet machine only: GUANLAN_BUDGETS=1 npm run e2e. Sizes and counts are tested everywhere. */
function needsQuiet(): void {
  test.skip(!process.env.GUANLAN_BUDGETS, 'times are measured on a quiet machine, with GUANLAN_BUDGETS=1')
}

test('first content', async ({ browser, baseURL }) => {
  needsQuiet()
  const times: number[] = []
  for (let i = 0; i < runs; i++) {
    const context = await browser.newContext({ baseURL })
    const page = await context.newPage()
    await page.goto('/services')
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
    times.push(await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]!.startTime))
    await context.close()
  }
  console.log(`first content: ${times.map((t) => Math.round(t)).join(', ')} ms`)
  expect(Math.min(...times)).toBeLessThanOrEqual(firstContentMs)
})

/** Compressed bytes of what the page loaded from its assets. */
const loaded = (page: Page, kind: RegExp) =>
  page.evaluate((source) => {
    const entries = performance.getEntriesByType('resource') as PerformanceResourceTiming[]
    return entries.filter((e) => new RegExp(source).test(new URL(e.name).pathname)).reduce((n, e) => n + e.encodedBodySize, 0)
  }, kind.source)

test('script before the first page, and all places together', async ({ page, request }) => {
  const trace = await someTrace(request)
  await page.goto('/settings')
  await settled(page)
  const initial = await loaded(page, /\.js$/)
  console.log(`initial script: ${initial} bytes`)
  expect(initial).toBeLessThanOrEqual(initialScriptBytes)
  for (const place of ['Overview', 'Services', 'Traces', 'Logs', 'Metrics', 'Profiles']) {
    await page.getByRole('navigation').getByRole('link', { name: place }).click()
    await expect(page.getByRole('heading', { level: 1 })).toHaveText(place)
    await settled(page)
  }
  await page.keyboard.press('Control+k')
  await page.getByRole('combobox', { name: 'Search and commands' }).fill(trace.traceId)
  await page.keyboard.press('Enter')
  await expect(page.getByRole('treeitem').first()).toBeVisible()
  const all = await loaded(page, /^\/assets\//)
  console.log(`all places: ${all} bytes`)
  expect(all).toBeLessThanOrEqual(totalBytes)
})

test('clicks and keys are answered', async ({ page, request }) => {
  await someTrace(request)
  await prefer(page, { theme: 'light', locale: 'en' })
  await page.goto('/services')
  await settled(page)
  await page.evaluate(() => {
    const times: number[] = []
    new PerformanceObserver((list) => times.push(...list.getEntries().filter((e) => e.name === 'click' || e.name === 'keydown').map((e) => e.duration))).observe({ type: 'event', durationThreshold: 16, buffered: true } as PerformanceObserverInit)
    Object.assign(window, { times })
  })
  for (const column of ['Rate, req/s', 'Error rate', 'P95', 'P99', 'Service']) await page.getByRole('columnheader', { name: column }).getByRole('button').click()
  await page.keyboard.press('Control+k')
  await page.keyboard.type('logs')
  await page.keyboard.press('Escape')
  await page.waitForTimeout(300)
  const times = await page.evaluate(() => (window as unknown as { times: number[] }).times)
  times.sort((a, b) => a - b)
  console.log(`slowest answers: ${times.slice(-5).join(', ')} ms of ${times.length}`)
  // The browser reports in steps of 8 ms, and nothing for what took less than 16.
  expect(times[Math.floor(times.length / 2)] ?? 0).toBeLessThanOrEqual(answerMs)
})

test('10,000 spans scroll at 60 Hz', async ({ page, request }) => {
  needsQuiet()
  const id = await hugeTrace(request, 10_000)
  await page.goto(`/traces/${id}`)
  await expect(page.getByText('10,000 spans').first()).toBeVisible()
  await expect(page.getByRole('treeitem').first()).toBeVisible()
  await settled(page)
  const cdp = await page.context().newCDPSession(page)
  await cdp.send('Performance.enable', { timeDomain: 'threadTicks' })
  const busy = async () => (await cdp.send('Performance.getMetrics')).metrics.find((m) => m.name === 'ThreadTime')!.value * 1000
  const costs: number[] = []
  const frames = 60
  for (let i = 0; i < runs; i++) {
    const before = await busy()
    await page.getByRole('tree').evaluate(async (el, n) => {
      for (let k = 0; k < n; k++) {
        el.scrollTop += 160
        await new Promise(requestAnimationFrame)
      }
    }, frames)
    costs.push(((await busy()) - before) / frames)
  }
  console.log(`main thread while scrolling: ${costs.map((c) => c.toFixed(1)).join(', ')} ms a frame`)
  expect(Math.min(...costs)).toBeLessThanOrEqual(frameMs)
})

test('of 10,000 spans only those in sight are drawn, and all can be searched', async ({ page, request }) => {
  const id = await hugeTrace(request, 10_000)
  await page.goto(`/traces/${id}`)
  await expect(page.getByText('10,000 spans').first()).toBeVisible()
  const rows = page.getByRole('treeitem')
  await expect(rows.first()).toBeVisible()
  expect(await rows.count()).toBeLessThan(drawnRows)
  const before = await rows.first().getAttribute('id')
  await page.getByRole('tree').evaluate((el) => el.scrollTo(0, el.scrollHeight / 2))
  await expect.poll(() => rows.first().getAttribute('id')).not.toBe(before)
  expect(await rows.count()).toBeLessThan(drawnRows)
  await page.goto(`/traces/${id}?q=status+%3D+error`)
  await expect(page.getByRole('button', { name: 'Next match' })).toBeEnabled()
})

test('10,000 spans open soon', async ({ page, request }) => {
  needsQuiet()
  const id = await hugeTrace(request, 10_000)
  const began = Date.now()
  await page.goto(`/traces/${id}`)
  await expect(page.getByRole('treeitem').first()).toBeVisible()
  console.log(`opened after ${Date.now() - began} ms`)
  expect(Date.now() - began).toBeLessThanOrEqual(openMs)
})

test('a flame graph of 20,000 frames moves at 60 Hz', async ({ page, request }) => {
  needsQuiet()
  const service = await hugeProfile(request, 20_000)
  await page.goto(`/profiles?q=service.name+%3D+${service}&type=cpu`)
  const graph = page.getByRole('application', { name: 'Flame graph' })
  await expect(graph).toBeVisible()
  await settled(page)
  const cdp = await page.context().newCDPSession(page)
  await cdp.send('Performance.enable', { timeDomain: 'threadTicks' })
  const busy = async () => (await cdp.send('Performance.getMetrics')).metrics.find((m) => m.name === 'ThreadTime')!.value * 1000
  const box = (await graph.boundingBox())!
  const costs: number[] = []
  for (let i = 0; i < 2 * runs; i++) {
    await page.evaluate(() => {
      const count = { frames: 0, on: true }
      Object.assign(window, { count })
      const tick = () => count.on && (count.frames++, requestAnimationFrame(tick))
      requestAnimationFrame(tick)
    })
    const before = await busy()
    // In by a click, out by the first frame, each a move of many frames.
    await page.mouse.click(box.x + 40, box.y + (i % 2 === 0 ? 3 * 20 + 10 : 10))
    await page.waitForTimeout(400)
    const spent = (await busy()) - before
    const frames = await page.evaluate(() => {
      const { count } = window as unknown as { count: { frames: number; on: boolean } }
      count.on = false
      return count.frames
    })
    costs.push(spent / frames)
  }
  console.log(`main thread while zooming: ${costs.map((c) => c.toFixed(1)).join(', ')} ms a frame`)
  expect(Math.min(...costs)).toBeLessThanOrEqual(frameMs)
})
