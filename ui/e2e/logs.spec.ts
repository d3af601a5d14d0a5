import { ask, expect, prefer, type Schemas, settled, test } from './base'

const some = (l: Schemas['LogList']) => l.logs.length > 0

test.beforeEach(async ({ page, request }) => {
  await ask<Schemas['LogList']>(request, '/guanlan/v1/logs?limit=1&start=now-1h', some)
  await prefer(page, { theme: 'light', locale: 'en' })
})

test('a filter is completed from the data', async ({ page }) => {
  await page.goto('/logs')
  await settled(page)
  await page.keyboard.press('/')
  await page.keyboard.type('service.na')
  await page.getByRole('option', { name: /service\.name/ }).first().click()
  await page.getByRole('option', { name: /^= / }).click()
  const value = page.getByRole('option').first()
  const name = (await value.locator('span').first().innerText()).trim()
  await value.click()
  await expect(page).toHaveURL(new RegExp(`q=service.name\\+%3D\\+${name}`))
  await settled(page)
  const cell = page.getByRole('table', { name: 'Logs' }).getByRole('row').nth(1).getByRole('cell').nth(2)
  await expect(cell).toHaveText(name)
  await page.getByRole('button', { name: `Remove service.name = ${name}` }).click()
  await expect(page).not.toHaveURL(/q=/)
})

test('a filter that cannot be read says where', async ({ page }) => {
  await page.goto('/logs')
  await page.getByRole('combobox', { name: 'Filter' }).fill('a or b')
  await page.keyboard.press('Enter')
  await expect(page.getByRole('alert')).toContainText('Cannot be read: or b')
})

test('a field lists its values, which filter', async ({ page }) => {
  await page.goto('/logs')
  const fields = page.getByRole('region', { name: 'Fields' })
  await fields.getByRole('button', { name: /^severity/ }).click()
  const value = fields.getByRole('list').getByRole('listitem').first().getByRole('button').first()
  const severity = await value.innerText()
  await value.click()
  await expect(page).toHaveURL(new RegExp(`q=severity\\+%3D\\+${severity}`))
})

test('a record opens, shows its neighbours and leads to its trace', async ({ page, request }) => {
  await ask<Schemas['LogList']>(request, '/guanlan/v1/logs?limit=1&start=now-1h&filter=exists%20trace_id', some)
  await page.goto('/logs?q=exists+trace_id')
  await page.getByRole('table', { name: 'Logs' }).getByRole('row').nth(2).click()
  await expect(page).toHaveURL(/log=/)
  await page.getByRole('button', { name: 'Records around it' }).click()
  await expect(page.getByText(/Records of the same source/)).toBeVisible()
  await expect(page).toHaveURL(/around=/)
  await page.getByRole('button', { name: 'Back to the results' }).click()
  await page.getByRole('link', { name: 'Open the trace' }).click()
  await expect(page).toHaveURL(/\/traces\/[0-9a-f]{32}/)
  await expect(page.getByRole('treeitem').first()).toBeVisible()
})

test('a pattern shows its records', async ({ page }) => {
  await page.goto('/logs?view=patterns')
  await page.getByRole('table', { name: 'Patterns' }).getByRole('row').nth(1).click()
  await expect(page).toHaveURL(/q=body\+%3D%7E/)
  await settled(page)
  await expect(page.getByRole('table', { name: 'Logs' }).getByRole('row').nth(1)).toBeVisible()
})

test('a bar of the volume narrows the range', async ({ page }) => {
  await page.goto('/logs')
  await settled(page)
  const volume = page.getByRole('application', { name: /Records over time/ })
  const box = (await volume.boundingBox())!
  await page.mouse.move(box.x + box.width * 0.7, box.y + 10)
  await page.mouse.down()
  await page.mouse.move(box.x + box.width - 2, box.y + 10, { steps: 3 })
  await page.mouse.up()
  await expect(page).toHaveURL(/from=\d{13}&to=\d{13}/)
})

test('the tail follows, pauses and stops', async ({ page }) => {
  await page.goto('/logs')
  await page.getByRole('button', { name: 'Live' }).click()
  const live = page.getByRole('group', { name: 'Live' })
  await expect(live.getByRole('status')).toContainText(/[1-9].* records\/s/, { timeout: 20_000 })
  await live.getByRole('button', { name: 'Pause' }).click()
  await expect(live.getByRole('status')).toContainText(/Paused · [1-9]/, { timeout: 20_000 })
  await live.getByRole('button', { name: 'Resume' }).click()
  await expect(live.getByRole('status')).toContainText('records/s')
  await live.getByRole('button', { name: 'Stop following' }).click()
  await expect(page).not.toHaveURL(/live=/)
})
