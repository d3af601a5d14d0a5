// What a server shows that has nothing, breaks, or takes its time. Only the
// generated backend can be told to; playwright.config.ts leaves this file out
// for a real one.

import { accessible, expect, prefer, test } from './base'

const mood = (value: string, baseURL: string | undefined) => [{ name: 'fixture', value, url: baseURL! }]

test.beforeEach(async ({ page }) => prefer(page, { theme: 'light', locale: 'en' }))

for (const path of ['/', '/services', '/services?view=map', '/traces', '/logs', '/metrics']) {
  test(`${path} without data says how to send some`, async ({ page, context, baseURL }) => {
    await context.addCookies(mood('empty', baseURL))
    await page.goto(path)
    await expect(page.getByText('OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318')).toBeVisible()
    await expect(page.getByRole('button', { name: 'Copy' })).toBeVisible()
    await accessible(page)
  })
}

for (const path of ['/kernel', '/kernel?view=map', '/kernel/audit', '/kernel/oom']) {
  test(`${path} without a receiver says how to start one`, async ({ page, context, baseURL }) => {
    await context.addCookies(mood('empty', baseURL))
    await page.goto(path)
    await expect(page.getByText('sudo guanlan up --kernel')).toBeVisible()
    await expect(page.getByText(/guanlan agent --endpoint/)).toBeVisible()
    await accessible(page)
  })
}

test('a feature that is refused says what is missing', async ({ page }) => {
  await page.goto('/kernel/audit')
  await expect(page.getByText('audit on node-b lacks: CAP_BPF')).toBeVisible()
})

test('/profiles without data says how to get some', async ({ page, context, baseURL }) => {
  await context.addCookies(mood('empty', baseURL))
  await page.goto('/profiles')
  await expect(page.getByText('guanlan up --kernel')).toBeVisible()
  await expect(page.getByText(`curl --data-binary @- '${baseURL}/api/v1/profiles?type=cpu&service.name=my-service'`)).toBeVisible()
  await accessible(page)
})

test('a filter that matches nothing offers to look further', async ({ page }) => {
  await page.goto('/traces?q=nothing.like.this+%3D+x')
  await expect(page.getByText('Nothing matches in this time range')).toBeVisible()
  await page.getByRole('button', { name: 'Remove the filter' }).click()
  await expect(page.getByRole('table', { name: 'Traces' }).getByRole('row').nth(1)).toBeVisible()
})

test.describe('broken', () => {
  test.use({ allowed: /503|404/ })
  for (const path of ['/', '/services', '/services/order', '/traces', '/traces/5a000000000000000000000000000000', '/logs', '/kernel', '/kernel/audit', '/kernel/oom', '/profiles', '/profiles?type=cpu&q=service.name+%3D+order', '/metrics?expr=up']) {
    test(`${path} says what failed, keeps the rest and can be tried again`, async ({ page, context, baseURL }) => {
      await context.addCookies(mood('broken', baseURL))
      await page.goto(path)
      const alert = page.getByRole('alert').first()
      await expect(alert).toContainText('disk full')
      await expect(page.getByRole('navigation', { name: 'Places' })).toBeVisible()
      await accessible(page)
      await context.clearCookies()
      const alerts = await page.getByRole('alert').count()
      for (let i = 0; i < alerts; i++) await page.getByRole('button', { name: 'Try again' }).first().click({ timeout: 2000 }).catch(() => undefined)
      await expect(page.getByText('disk full')).toHaveCount(0)
    })
  }
})

test('a slow answer shows where it will stand, and a page that is left is no longer asked for', async ({ page, context, baseURL }) => {
  await context.addCookies(mood('slow', baseURL))
  await page.goto('/traces')
  await expect(page.getByRole('status', { name: 'Loading…' }).first()).toBeVisible()
  const gone = page.waitForEvent('requestfailed', (r) => r.url().includes('/traces/heatmap'))
  await page.keyboard.press('g')
  await page.keyboard.press(',')
  await gone
})
