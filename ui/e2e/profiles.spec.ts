// Profiles: against generated ones, or against a real server that is sent its
// own heap and a profile of which the shape is known.

import type { Page } from '@playwright/test'
import { accessible, ask, expect, prefer, type Schemas, settled, someTrace, test } from './base'
import { hugeTrace } from './otlp'
import { profileOf, someProfiles } from './pprof'

test.beforeEach(async ({ page, request }) => {
  await someProfiles(request)
  await prefer(page, { theme: 'light', locale: 'en' })
})

const order = '/profiles?q=service.name+%3D+order&type=cpu'
const versions = '/profiles?q=service.name+%3D+order+and+service.version+%3D+1.5.0&type=cpu&vs=same&vsq=service.name+%3D+order+and+service.version+%3D+1.4.2'

const graph = (page: Page) => page.getByRole('application', { name: 'Flame graph' })
const strip = (page: Page) => page.getByRole('region', { name: 'Selected frame' })

/** Clicks the middle of the widest frame of a depth. */
async function clickFrame(page: Page, depth: number): Promise<void> {
  const box = (await graph(page).boundingBox())!
  await page.mouse.click(box.x + 30, box.y + depth * 20 + 10)
}

test('services and types are listed, and a row opens its flame graph', async ({ page, request }) => {
  // With one service there is nothing to choose from.
  await someProfiles(request, 'gateway')
  await page.goto('/profiles')
  const table = page.getByRole('table', { name: 'Profiles' })
  await table.getByRole('row').filter({ hasText: 'order' }).filter({ hasText: 'CPU' }).first().click()
  await expect(page).toHaveURL(/q=service.name\+%3D\+order&.*type=cpu/)
  await expect(graph(page)).toBeVisible()
  await expect(page.getByText(/CPU, total/)).toBeVisible()
})

test('a click zooms, the link shows the same frame, Back goes back', async ({ page, context }) => {
  await page.goto(order)
  await expect(graph(page)).toBeVisible()
  await clickFrame(page, 2)
  await expect(page).toHaveURL(/frame=\w+&?/)
  await expect(page).toHaveURL(/zoom=\w+/)
  const chosen = await strip(page).innerText()
  expect(chosen).toContain('Callers and callees')
  const other = await context.newPage()
  await other.goto(page.url())
  await expect(strip(other)).toContainText('Callers and callees')
  expect(await strip(other).innerText()).toBe(chosen)
  await page.goBack()
  await expect(page).not.toHaveURL(/zoom=/)
  await page.goForward()
  await page.getByRole('button', { name: 'Whole profile' }).click()
  await expect(page).not.toHaveURL(/zoom=|frame=/)
})

test('arrow keys walk through the frames, Enter zooms, Escape goes back', async ({ page }) => {
  await page.goto(order)
  await graph(page).focus()
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('ArrowDown')
  const name = () => strip(page).locator('.mono').first().innerText()
  await expect(strip(page).locator('.mono').first()).toBeVisible()
  const first = await name()
  await page.keyboard.press('ArrowDown')
  await expect.poll(name).not.toBe(first)
  await page.keyboard.press('ArrowUp')
  await expect.poll(name).toBe(first)
  await expect(page).not.toHaveURL(/zoom=/)
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(/zoom=/)
  await page.keyboard.press('Escape')
  await expect(page).not.toHaveURL(/zoom=/)
  // What is chosen is told to those who do not see it.
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('ArrowDown')
  await expect(graph(page).locator('[aria-live]')).toContainText('depth')
})

test('finding functions says their share and walks through them', async ({ page }) => {
  await page.goto(order)
  await expect(graph(page)).toBeVisible()
  await page.keyboard.press('f')
  await page.keyboard.type('json')
  const status = page.getByRole('status').filter({ hasText: 'of the total' })
  await expect(status).toHaveText(/^[2-9]\d* functions, [\d.]+% of the total$/)
  await expect(page).toHaveURL(/find=json/)
  await page.keyboard.press('Enter')
  await expect(strip(page)).toContainText('json')
  await page.getByRole('searchbox').fill('/^no such function$/')
  await expect(page.getByText('No function matches')).toBeVisible()
  await page.getByRole('searchbox').fill('/(/')
  await expect(page.getByText('This expression cannot be read')).toBeVisible()
})

test('functions can be sorted, and one shows its callers and callees', async ({ page }) => {
  await page.goto(order)
  await page.getByRole('group', { name: 'View' }).getByRole('button', { name: 'Functions' }).click()
  const table = page.getByRole('table', { name: 'Functions' })
  await table.getByRole('columnheader', { name: 'Total' }).getByRole('button').click()
  await expect(page).toHaveURL(/sort=-total/)
  await page.getByRole('searchbox').fill('reflectValue')
  await table.getByRole('row').nth(1).click()
  await expect(page).toHaveURL(/fn=encoding/)
  const sandwich = page.getByRole('region', { name: /^Callers and callees of .*reflectValue/ })
  const callers = sandwich.getByRole('application', { name: 'Called by' })
  await expect(sandwich.getByRole('application', { name: 'Calls' })).toBeVisible()
  // The next frame above is the caller; a click puts it in the middle.
  const box = (await callers.locator('canvas').boundingBox())!
  await page.mouse.click(box.x + 30, box.y + box.height - 30)
  await expect(page).not.toHaveURL(/fn=[^&]*reflectValue/)
  await expect(page.getByRole('region', { name: /^Callers and callees of/ })).toBeVisible()
  await page.keyboard.press('Escape')
  await expect(sandwich).toHaveCount(0)
})

test('two versions are compared in colours and words', async ({ page }) => {
  await page.goto(order)
  await page.getByRole('button', { name: 'Compare' }).click()
  await accessible(page)
  await page.getByRole('dialog').getByRole('button', { name: '1.4.2' }).click()
  await expect(page).toHaveURL(/vs=same/)
  const sides = page.getByRole('group', { name: 'Compare' })
  await expect(sides).toContainText('service.version = 1.4.2')
  await expect(sides).toContainText('service.version = 1.5.0')
  await page.getByRole('group', { name: 'View' }).getByRole('button', { name: 'Functions' }).click()
  const table = page.getByRole('table', { name: 'Functions' })
  const row = (name: string) => table.getByRole('row').filter({ hasText: name })
  await page.getByRole('searchbox').fill('gzip')
  await expect(row('gzip').first()).toContainText('gone')
  await page.getByRole('searchbox').fill('json.Marshal')
  await expect(row('json.Marshal').first()).toContainText(/\+\d/)
  await sides.getByRole('button', { name: 'Swap sides' }).click()
  await expect(row('json.Marshal').first()).toContainText(/−\d/)
  await page.getByRole('searchbox').fill('gzip')
  await expect(row('gzip').first()).toContainText('new')
  await sides.getByRole('button', { name: 'Stop comparing' }).click()
  await expect(page).not.toHaveURL(/vs/)
})

test('a period without profiles on the other side says so', async ({ page }) => {
  await page.goto(`${order}&vs=1000000000000-1000000001000`)
  await expect(page.getByText('base is empty')).toBeVisible()
})

test('the same profile is open to go tool pprof', async ({ page, request }) => {
  await page.goto(order)
  await page.getByRole('button', { name: 'go tool pprof' }).click()
  const dialog = page.getByRole('dialog', { name: 'go tool pprof' })
  await expect(dialog.locator('pre')).toContainText(/go tool pprof -http=: 'http:.*\/api\/v1\/profiles\/merge\?from=\d+&to=\d+&filter=service.name/)
  await accessible(page)
  const address = await dialog.getByRole('link', { name: 'Download as pprof' }).getAttribute('href')
  const file = await request.get(address!)
  expect(file.ok()).toBe(true)
  // gzip, as the tools write it.
  expect([...(await file.body()).subarray(0, 2)]).toEqual([0x1f, 0x8b])
})

test('a span leads to the profiles of its service at that time, and to those of its trace', async ({ page, request }) => {
  const id = await hugeTrace(request, 100)
  const trace = await ask<Schemas['Trace']>(request, `/guanlan/v1/traces/${id}`, (t) => t.spanList.length > 0)
  await profileOf(request, id, trace.service)
  await page.goto(`/traces/${id}`)
  await page.getByRole('treeitem').first().click()
  const related = page.getByRole('region', { name: 'Related' })
  await related.getByRole('link', { name: /^CPU of the (process|service) \d/ }).click()
  await expect(page).toHaveURL(new RegExp(`/profiles\\?from=\\d+&to=\\d+&q=service.name\\+%3D\\+${trace.service}.*&type=cpu$`))
  await expect(graph(page)).toBeVisible()
  await page.goBack()
  await related.getByRole('link', { name: /^CPU of the trace \d/ }).click()
  await expect(page).toHaveURL(new RegExp(`trace_id\\+%3D\\+${id}`))
  await expect(graph(page)).toBeVisible()
})

test('a service leads to its profiles', async ({ page, request }) => {
  const trace = await someTrace(request)
  await someProfiles(request, trace.service)
  await page.goto(`/services/${trace.service}`)
  await page.getByRole('link', { name: /^[\d,]+ profiles?$/ }).click()
  await expect(page).toHaveURL(new RegExp(`/profiles\\?q=service.name\\+%3D\\+${trace.service}`))
})

test('the filter completes attributes of resources and their values', async ({ page }) => {
  await page.goto(order)
  await expect(graph(page)).toBeVisible()
  const filter = page.getByRole('combobox', { name: 'Filter' })
  await filter.fill('service.v')
  await page.getByRole('option', { name: /service\.version/ }).click()
  await filter.pressSequentially('= 1.5')
  await page.getByRole('option', { name: /^1\.5\.0/ }).click()
  await expect(page).toHaveURL(/service\.version\+%3D\+1\.5\.0/)
})

test('a difference to all profiles, and the sides swapped', async ({ page }) => {
  await page.goto('/profiles?q=service.name+%3D+order&type=cpu&vs=same&vsq=*')
  await expect(graph(page)).toBeVisible()
  await page.getByRole('button', { name: 'Swap sides' }).click()
  await expect(page).toHaveURL(/\/profiles\?type=cpu&vs=same&vsq=service\.name/)
  await expect(graph(page)).toBeVisible()
})

for (const [name, path] of [['flame graph', order], ['difference', versions], ['functions', `${order}&view=functions&fn=runtime.mallocgc`], ['list', '/profiles']] as const) {
  for (const [theme, locale] of [['light', 'en'], ['dark', 'zh-CN']] as const) {
    test(`${name} in ${theme} and ${locale} is accessible`, async ({ page }) => {
      await prefer(page, { theme, locale })
      await page.goto(path)
      await settled(page)
      await accessible(page)
    })
  }
}
