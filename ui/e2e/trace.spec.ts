import { expect, prefer, settled, someTrace, test } from './base'

test.beforeEach(async ({ page }) => prefer(page, { theme: 'light', locale: 'en' }))

test('the waterfall answers to the keyboard', async ({ page, request }) => {
  const trace = await someTrace(request)
  await page.goto(`/traces/${trace.traceId}`)
  const rows = page.getByRole('treeitem')
  await expect(rows.first()).toBeVisible()
  const all = await rows.count()
  await page.keyboard.press('j')
  await page.keyboard.press('ArrowLeft')
  await expect(rows).toHaveCount(1)
  await page.keyboard.press('ArrowRight')
  await expect(rows).toHaveCount(all)
  await page.keyboard.press('j')
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(/span=[0-9a-f]{16}/)
  const first = page.url()
  await expect(page.getByRole('complementary')).toBeVisible()
  await page.keyboard.press('j')
  await expect(page).not.toHaveURL(first)
  await page.keyboard.press('Escape')
  await expect(page.getByRole('complementary')).toHaveCount(0)
})

test('finding spans counts them and walks through them', async ({ page, request }) => {
  const trace = await someTrace(request)
  await page.goto(`/traces/${trace.traceId}`)
  await expect(page.getByRole('treeitem').first()).toBeVisible()
  await page.keyboard.press('/')
  await page.keyboard.type('root = true')
  await page.keyboard.press('Enter')
  await expect(page.getByText('1 span', { exact: true })).toBeVisible()
  await page.getByRole('combobox', { name: 'Find spans' }).blur()
  await page.keyboard.press('n')
  await expect(page.getByText('1 of 1')).toBeVisible()
  await expect(page.getByRole('treeitem', { selected: true })).toHaveCount(1)
})

test('an attribute of a span filters the traces', async ({ page, request }) => {
  const trace = await someTrace(request)
  await page.goto(`/traces/${trace.traceId}`)
  await page.getByRole('treeitem').first().click()
  const panel = page.getByRole('complementary')
  await panel.getByRole('button', { name: 'Filter for this' }).first().focus()
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(/\/traces\?.*q=/)
  await settled(page)
  await expect(page.getByRole('table', { name: 'Traces' }).getByRole('row').nth(1)).toBeVisible()
})

test('all views show the trace, and the zoom is in the link', async ({ page, request }) => {
  const trace = await someTrace(request)
  await page.goto(`/traces/${trace.traceId}`)
  const views = page.getByRole('group', { name: 'Trace' })
  await views.getByRole('button', { name: 'Table' }).click()
  await expect(page.getByRole('table', { name: 'Table' }).getByRole('row').nth(1)).toBeVisible()
  await views.getByRole('button', { name: /^Logs/ }).click()
  await views.getByRole('button', { name: 'Flame graph' }).click()
  const flame = page.getByRole('img', { name: 'Flame graph' })
  const box = (await flame.boundingBox())!
  await flame.click({ position: { x: box.width / 10, y: 10 } }) // the root: it need not last as long as the trace
  await expect(page).toHaveURL(/span=/)
  await views.getByRole('button', { name: 'Waterfall' }).click()
  const map = (await page.getByRole('img', { name: /Whole trace/ }).boundingBox())!
  await page.mouse.move(map.x + map.width * 0.25, map.y + 20)
  await page.mouse.down()
  await page.mouse.move(map.x + map.width * 0.5, map.y + 20, { steps: 3 })
  await page.mouse.up()
  await expect(page).toHaveURL(/zoom=\d+-\d+/)
  await page.getByRole('button', { name: 'Whole trace' }).click()
  await expect(page).not.toHaveURL(/zoom=/)
})

test.describe('a trace that is not there', () => {
  test.use({ allowed: /404/ })
  test('says why it may be missing', async ({ page }) => {
    await page.goto('/traces/00000000000000000000000000000bad')
    await expect(page.getByText('This trace is not in the store')).toBeVisible()
  })
})
