import { ask, expect, prefer, settled, test } from './base'

interface Names {
  data: string[]
}
interface Exemplars {
  data: { exemplars: unknown[] }[]
}

test.beforeEach(async ({ page, request }) => {
  await ask<Names>(request, '/api/v1/label/__name__/values', (n) => n.data.length > 0)
  await prefer(page, { theme: 'light', locale: 'en' })
})

test('a metric from the list is drawn', async ({ page }) => {
  await page.goto('/metrics')
  await page.getByRole('table', { name: 'Metrics' }).getByRole('row').nth(1).click()
  await expect(page).toHaveURL(/expr=/)
  await settled(page)
  await expect(page.getByRole('group', { name: /^Chart of/ }).or(page.getByText('no result'))).toBeVisible()
})

test('the editor completes names from the server and runs the query', async ({ page, request }) => {
  const { data } = await ask<Names>(request, '/api/v1/label/__name__/values', (n) => n.data.length > 0)
  const name = data.find((n) => n.endsWith('_total')) ?? data[0]!
  await page.goto('/metrics')
  await settled(page)
  await page.keyboard.press('/')
  await page.keyboard.type(`rate(${name.slice(0, -2)}`)
  await page.getByRole('option', { name: new RegExp(`^${name}`) }).first().click()
  await page.keyboard.type('[5m]')
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(new RegExp(`expr=rate%28${name}%5B5m%5D%29`))
  await expect(page.getByRole('group', { name: /^Chart of/ })).toBeVisible()
  // A line can be taken out of the picture.
  const series = page.getByRole('table', { name: 'Series' }).locator('button[aria-pressed]')
  await series.first().click()
  await expect(series.first()).toHaveAttribute('aria-pressed', 'false')
})

test('the builder writes a query', async ({ page, request }) => {
  const { data } = await ask<Names>(request, '/api/v1/label/__name__/values', (n) => n.data.some((x) => x.endsWith('_bucket')))
  const name = data.find((n) => n.endsWith('_bucket'))!.replace(/_bucket$/, '')
  await page.goto('/metrics?view=builder')
  await settled(page)
  await page.getByLabel('Metric', { exact: true }).fill(name)
  await expect(page).toHaveURL(new RegExp(`expr=histogram_quantile%280.95.*${name}_bucket`))
  await page.getByLabel('Show').selectOption('p99')
  await expect(page).toHaveURL(/expr=histogram_quantile%280.99/)
})

test('an exemplar opens its trace', async ({ page, request }) => {
  const now = Math.floor(Date.now() / 1000)
  const query = 'http_server_request_duration_seconds_bucket'
  await ask<Exemplars>(request, `/api/v1/query_exemplars?query=${query}&start=${now - 900}&end=${now}`, (e) => e.data.some((s) => s.exemplars.length > 0))
  await page.goto(`/metrics?from=now-15m&expr=histogram_quantile(0.95, sum by (le) (rate(${query}[5m])))`)
  const dot = page.getByRole('button', { name: /^Open the trace of/ }).first()
  await dot.dispatchEvent('click')
  await expect(page).toHaveURL(/\/traces\/[0-9a-f]{32}/)
})

test.describe('a mistake', () => {
  test.use({ allowed: /400|422/ })
  test('in a query is explained', async ({ page }) => {
    await page.goto('/metrics?expr=sum(')
    await expect(page.getByText('The query cannot be evaluated')).toBeVisible()
    await expect(page.getByText(/parse error/)).toBeVisible()
  })
})
