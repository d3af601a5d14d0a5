import type { Page } from '@playwright/test'
import { expect, prefer, settled, someTrace, test } from './base'

/** Draws a box over the upper part of the heat map, where the slow spans are. */
async function dragSlowest(page: Page): Promise<void> {
  const plane = page.getByRole('application', { name: 'Duration over time' })
  const box = (await plane.boundingBox())!
  await page.mouse.move(box.x + 2, box.y + 1)
  await page.mouse.down()
  await page.mouse.move(box.x + box.width - 2, box.y + box.height * 0.5, { steps: 4 })
  await page.mouse.up()
}

test.beforeEach(async ({ page, request }) => {
  await someTrace(request)
  await prefer(page, { theme: 'light', locale: 'en' })
})

test('from the symptom to the cause in three clicks: box, value, trace', async ({ page }) => {
  await page.goto('/traces')
  await settled(page)
  await dragSlowest(page)
  const panel = page.getByRole('complementary', { name: 'What differs' })
  await expect(panel.getByText(/spans? selected/)).toBeVisible()
  await expect(page).toHaveURL(/box=\d+-\d+-\d+-0/)

  const value = panel.getByRole('button', { name: /Show traces of the selection/ }).first()
  await value.click()
  await expect(page).toHaveURL(/pick=/)
  await settled(page)

  await page.getByRole('table', { name: 'Traces' }).getByRole('row').nth(1).click()
  await expect(page).toHaveURL(/\/traces\/[0-9a-f]{32}/)
  await expect(page.getByRole('tree').getByRole('treeitem').first()).toBeVisible()

  // Back, step by step, to where it began.
  await page.goBack()
  await expect(panel).toBeVisible()
  await expect(page).toHaveURL(/pick=/)
  await page.goBack()
  await expect(page).not.toHaveURL(/pick=/)
  await page.goBack()
  await expect(panel).toHaveCount(0)
})

test('a link shows the same thing to somebody else', async ({ page, context }) => {
  await page.goto('/traces')
  await settled(page)
  await dragSlowest(page)
  await page.getByRole('complementary', { name: 'What differs' }).getByRole('button', { name: /Show traces/ }).first().click()
  await settled(page)
  const text = (p: Page) => p.getByRole('complementary').innerText()
  const other = await context.newPage()
  await other.goto(page.url())
  await settled(other)
  expect(await text(other)).toBe(await text(page))
})

test('a service leads to its traces, its logs and back, range and filter travelling along', async ({ page }) => {
  await page.goto('/services?from=now-6h')
  const link = page.getByRole('table', { name: 'Services' }).getByRole('row').nth(1).getByRole('link').first()
  const name = (await link.innerText()).trim()
  await link.click()
  await expect(page.getByRole('heading', { level: 1 })).toContainText(name)
  await expect(page.getByRole('table', { name: 'Operations' })).toBeVisible()
  await page.getByRole('link', { name: 'Traces' }).last().click()
  await expect(page).toHaveURL(new RegExp(`from=now-6h&q=service.name\\+%3D\\+${name}`))
  await page.getByRole('navigation').getByRole('link', { name: 'Logs' }).click()
  await expect(page).toHaveURL(new RegExp(`/logs\\?from=now-6h&q=service.name\\+%3D\\+${name}`))
  await expect(page.getByRole('button', { name: `Edit service.name = ${name}` })).toBeVisible()
})

test('what is related opens with one click and is as many as was said', async ({ page, request }) => {
  const trace = await someTrace(request)
  await page.goto(`/traces/${trace.traceId}`)
  await page.getByRole('treeitem').first().click()
  const related = page.getByRole('region', { name: 'Related' })
  await expect(related.getByRole('link').first()).toBeVisible()
  for (const title of ['Traces of the service', 'Request rate']) {
    const item = related.getByRole('link', { name: title })
    if ((await item.count()) === 0) continue
    await item.click()
    await expect(page).not.toHaveURL(new RegExp(`/traces/${trace.traceId}`))
    await settled(page)
    await page.goBack()
    await expect(related).toBeVisible()
  }
  const service = related.getByRole('link', { name: /^Service/ })
  await service.click()
  await expect(page).toHaveURL(/\/services\//)
})

test('the map draws every service and opens one', async ({ page }) => {
  await page.goto('/services?view=map')
  const map = page.getByRole('group', { name: /^Map of/ })
  const node = map.getByRole('button', { name: /, Service,/ }).first()
  const name = (await node.getAttribute('aria-label'))!.split(',')[0]!
  await node.click()
  await expect(page).toHaveURL(new RegExp(`focus=${name}`))
  await page.getByRole('button', { name: `Open ${name}` }).click()
  await expect(page.getByRole('heading', { level: 1 })).toContainText(name)
})
