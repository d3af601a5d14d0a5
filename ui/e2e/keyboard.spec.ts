import { accessible, expect, open, prefer, settled, someTrace, test } from './base'

test.beforeEach(async ({ page }) => prefer(page, { theme: 'light', locale: 'en' }))

test('g and a letter go to the places', async ({ page }) => {
  await open(page, '/')
  for (const [key, title] of [['s', 'Services'], ['t', 'Traces'], ['l', 'Logs'], ['m', 'Metrics'], ['p', 'Profiles'], [',', 'Settings'], ['o', 'Overview']] as const) {
    await page.keyboard.press('g')
    await page.keyboard.press(key)
    await expect(page.getByRole('heading', { level: 1 })).toHaveText(title)
  }
})

test('? explains the keys, Esc closes', async ({ page }) => {
  await open(page, '/traces')
  await page.keyboard.press('?')
  const help = page.getByRole('dialog', { name: 'Keyboard' })
  await expect(help).toBeVisible()
  await accessible(page)
  await page.keyboard.press('Escape')
  await expect(help).toHaveCount(0)
})

test('[ and ] move the range, a backslash widens it', async ({ page }) => {
  await open(page, '/traces')
  await page.keyboard.press('[')
  await expect(page).toHaveURL(/from=\d{13}&to=\d{13}/)
  const width = () => {
    const q = new URL(page.url()).searchParams
    return Number(q.get('to')) - Number(q.get('from'))
  }
  expect(width()).toBe(3_600_000)
  const before = page.url()
  await page.keyboard.press(']')
  await expect(page).not.toHaveURL(before)
  expect(width()).toBe(3_600_000)
  await page.keyboard.press('\\')
  await expect.poll(width).toBe(7_200_000)
})

test('the palette finds services, traces by id and commands', async ({ page, request }) => {
  const trace = await someTrace(request)
  await open(page, '/')
  await settled(page)
  await page.keyboard.press('Control+k')
  const dialog = page.getByRole('dialog', { name: 'Search and commands' })
  await expect(dialog).toBeVisible()
  await accessible(page)
  await page.keyboard.type(trace.service)
  await expect(dialog.getByRole('option', { name: trace.service, exact: true })).toBeVisible()
  await dialog.getByRole('combobox').fill(trace.traceId)
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(new RegExp(`/traces/${trace.traceId}`))
  await page.keyboard.press('Control+k')
  await dialog.getByRole('combobox').fill('theme: dark')
  await page.keyboard.press('Enter')
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark')
})

test('j, k and Enter open a row', async ({ page, request }) => {
  await someTrace(request)
  await open(page, '/traces')
  await settled(page)
  await page.keyboard.press('j')
  await page.keyboard.press('j')
  await page.keyboard.press('k')
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(/\/traces\/[0-9a-f]{32}/)
})

test('the range picker takes text and says what is wrong with it', async ({ page }) => {
  await open(page, '/traces')
  await page.getByRole('button', { name: 'Time range' }).click()
  const from = page.getByRole('textbox', { name: 'From' })
  await from.fill('yesterday')
  await expect(page.getByText('Not a time.')).toBeVisible()
  await accessible(page)
  await from.fill('now-3h')
  await page.getByRole('button', { name: 'Apply' }).click()
  await expect(page).toHaveURL(/from=now-3h/)
  await expect(page.getByRole('button', { name: 'Time range' })).toHaveText('Last 3 hours')
})
