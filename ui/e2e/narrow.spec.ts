// On a phone: the head of each page is whole, and nothing needs to be pushed sideways.

import { expect, open, prefer, settled, someTrace, test } from './base'
import type { Page } from '@playwright/test'

/** What of the page's head, of its filter and of the navigation is cut or out of sight. */
const cut = (page: Page) =>
  page.evaluate(() => {
    const name = (e: Element) => `${e.tagName.toLowerCase()} “${e.getAttribute('aria-label') ?? e.textContent.trim().slice(0, 40)}”`
    const found: string[] = []
    if (document.scrollingElement!.scrollWidth > innerWidth) found.push(`the page is ${document.scrollingElement!.scrollWidth} px wide`)
    for (const e of document.querySelectorAll('header, header *, nav, nav *, [role=search], [role=search] button')) {
      const { left, right, top, bottom, width } = e.getBoundingClientRect()
      if (width === 0) continue
      if (left < 0 || right > innerWidth + 0.5 || top < 0 || bottom > innerHeight + 0.5) found.push(`${name(e)} is out of sight`)
      const clips = getComputedStyle(e).overflowX !== 'visible' && e.tagName !== 'INPUT' && e.closest('header')
      if (clips && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)) found.push(`${name(e)} is cut`)
    }
    return found
  })

for (const [locale, theme, width] of [['en', 'light', 390], ['zh-CN', 'dark', 390], ['en', 'dark', 360], ['zh-CN', 'light', 420]] as const) {
  test(`the head of every place is whole at ${width} px, ${locale}`, async ({ page, request }) => {
    test.setTimeout(180_000) // fifteen pages
    const { service } = await someTrace(request)
    await prefer(page, { theme, locale })
    await page.setViewportSize({ width, height: 800 })
    await open(page, '/')
    const places = page.getByRole('navigation').first().getByRole('link')
    const paths = await places.evaluateAll((all) => [...new Set(all.map((a) => a.getAttribute('href')!))])
    expect(paths.length).toBeGreaterThanOrEqual(8)
    const day = 24 * 3600_000
    const long = `from=${Date.now() - 3 * day}&to=${Date.now() - day}`
    for (const path of [...paths, `/services/${service}`, '/services?view=map', '/kernel/audit', '/kernel/oom', '/metrics?expr=up&view=builder', `/traces?${long}&q=service.name+%3D+${service}`]) {
      await open(page, path)
      await settled(page)
      expect(await cut(page), path).toEqual([])
    }
  })
}

test('places are reached, and the time is chosen, on a phone', async ({ page, request }) => {
  await someTrace(request)
  await prefer(page, { theme: 'light', locale: 'en' })
  await page.setViewportSize({ width: 390, height: 800 })
  await open(page, '/')
  await page.getByRole('navigation').getByRole('link', { name: 'Logs' }).click()
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Logs')
  await page.getByRole('button', { name: 'Time range' }).click()
  const panel = page.getByRole('dialog', { name: 'Time range' })
  const box = (await panel.boundingBox())!
  expect(box.x).toBeGreaterThanOrEqual(0)
  expect(box.x + box.width).toBeLessThanOrEqual(390)
  await panel.getByRole('button', { name: 'Last 15 minutes' }).click()
  await expect(page).toHaveURL(/from=now-15m/)
  // A record opens over the list, all of it in sight.
  await page.getByRole('table', { name: 'Logs' }).getByRole('row').nth(1).click()
  const details = (await page.getByRole('complementary').boundingBox())!
  expect([details.x, details.width]).toEqual([0, 390])
})
