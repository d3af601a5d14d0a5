import { accessible, expect, prefer, settled, someTrace, test } from './base'

const places = [
  { path: '/', en: 'Overview', zh: '总览' },
  { path: '/services', en: 'Services', zh: '服务' },
  { path: '/services?view=map', en: 'Services', zh: '服务' },
  { path: '/traces', en: 'Traces', zh: '链路' },
  { path: '/traces?view=grouped', en: 'Traces', zh: '链路' },
  { path: '/logs', en: 'Logs', zh: '日志' },
  { path: '/logs?view=patterns', en: 'Logs', zh: '日志' },
  { path: '/metrics', en: 'Metrics', zh: '指标' },
  { path: '/metrics?expr=up&view=builder', en: 'Metrics', zh: '指标' },
  { path: '/settings', en: 'Settings', zh: '设置' },
]

for (const p of places) {
  test(`${p.path} in English and light is accessible`, async ({ page, request }) => {
    await someTrace(request)
    await prefer(page, { theme: 'light', locale: 'en' })
    await page.goto(p.path)
    await expect(page.getByRole('heading', { level: 1 })).toHaveText(p.en)
    await expect(page).toHaveTitle(`${p.en} · Guanlan`)
    await settled(page)
    await accessible(page)
  })

  test(`${p.path} in Chinese and dark is accessible`, async ({ page }) => {
    await prefer(page, { theme: 'dark', locale: 'zh-CN' })
    await page.goto(p.path)
    await expect(page.getByRole('heading', { level: 1 })).toHaveText(p.zh)
    await expect(page.locator('html')).toHaveAttribute('lang', 'zh-CN')
    await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark')
    await settled(page)
    await accessible(page)
  })
}

for (const view of ['', 'flame', 'table', 'logs']) {
  test(`a trace ${view} with an open span is accessible`, async ({ page, request }) => {
    const trace = await someTrace(request)
    await prefer(page, { theme: view === '' ? 'dark' : 'light', locale: 'en' })
    await page.goto(`/traces/${trace.traceId}?view=${view}`)
    await expect(page.getByRole('heading', { level: 1 })).toContainText(trace.name)
    if (view === '') await page.getByRole('treeitem').nth(1).click()
    await settled(page)
    await accessible(page)
  })
}

test('a service, with its related signals, is accessible', async ({ page, request }) => {
  const trace = await someTrace(request)
  await page.goto(`/services/${trace.service}?side=1`)
  await expect(page.getByRole('region', { name: 'Related' }).getByRole('link').first()).toBeVisible()
  await settled(page)
  await accessible(page)
})

test('an unknown address says so and leads back', async ({ page }) => {
  await page.goto('/no/such/page')
  await expect(page.getByText('There is no such page')).toBeVisible()
  await page.getByRole('link', { name: 'Go to the overview' }).click()
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Overview')
})

test('the choices of language, theme and zone hold after a reload', async ({ page }) => {
  await page.goto('/settings')
  await page.getByRole('group', { name: 'Theme' }).getByRole('button', { name: 'Dark' }).click()
  await page.getByRole('group', { name: 'Times' }).getByRole('button', { name: 'UTC' }).click()
  await page.getByRole('group', { name: 'Language' }).getByRole('button', { name: '简体中文' }).click()
  await page.reload()
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('设置')
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark')
  await expect(page.getByRole('button', { name: 'UTC' })).toHaveAttribute('aria-pressed', 'true')
})
