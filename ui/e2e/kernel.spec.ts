// What the kernel saw: the network, the audit, kills for want of memory, and
// the facts of traces and services. Against a real server the telemetry of a
// kernel receiver is sent first, under the names that it uses.

import { accessible, expect, open, prefer, real, settled, someTrace, test } from './base'
import { sendKernel } from './kernel'

test.beforeEach(async ({ page, request }) => {
  await prefer(page, { theme: 'light', locale: 'en' })
  if (real) await sendKernel(request)
})

/** Who is in trouble with whom, in the telemetry sent and in the generated one. */
const [service, peer, killed] = real ? ['e2e-shop', 'e2e-bank', 'e2e-cache'] : ['user', 'payment', 'inventory']

test('the worst flow stands first, opens with its evidence, and leads to its series', async ({ page }) => {
  await open(page, `/kernel?q=service.name+%3D+${service}`)
  const first = page.getByRole('table', { name: 'Network' }).getByRole('row').nth(1)
  await expect(first).toContainText('bad')
  await expect(first).toContainText(service)
  await expect(first).toContainText(peer)
  await page.keyboard.press('j')
  await page.keyboard.press('Enter')
  const panel = page.getByRole('complementary', { name: `${service} → ${peer}` })
  await expect(panel).toContainText('Many segments sent again')
  await expect(panel).toContainText(/segments were sent again/)
  await expect(page).toHaveURL(/flow=/)
  await settled(page)
  await accessible(page)
  await page.keyboard.press('Escape')
  await expect(panel).toHaveCount(0)
  await first.getByRole('link', { name: /%$/ }).click()
  await expect(page).toHaveURL(/\/metrics\?.*kernel_tcp_retransmits_total/)
})

test('flows are filtered by the grammar, with values from the data, and sorted', async ({ page }) => {
  await open(page, '/kernel')
  const table = page.getByRole('table', { name: 'Network' })
  await expect(table.getByRole('row').nth(1)).toBeVisible()
  await page.keyboard.press('/')
  await page.keyboard.type('health = ba')
  await expect(page.getByRole('option', { name: /bad/ })).toBeVisible()
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  await expect(page.getByRole('button', { name: 'Edit health = bad' })).toBeVisible()
  await expect(table).not.toContainText('warning')
  await table.getByRole('columnheader', { name: 'RTT P99' }).getByRole('button').click()
  await expect(page).toHaveURL(/sort=-rttP99/)
  await expect(table.getByRole('columnheader', { name: 'RTT P99' })).toHaveAttribute('aria-sort', 'descending')
})

test('the map is drawn, says health in words, and a node leads to its flows', async ({ page }) => {
  await open(page, `/kernel?view=map&q=service.name+%3D+${service}`)
  const node = page.getByRole('button', { name: new RegExp(`^${service}, service, .*Health bad`) })
  await node.click()
  await settled(page)
  await accessible(page)
  await page.getByRole('button', { name: 'Flows of these two in the table' }).first().click()
  await expect(page.getByRole('table', { name: 'Network' }).getByRole('row')).not.toHaveCount(1)
  await expect(page).toHaveURL(/source/)
})

test('namespaces tell of states and listeners', async ({ page }) => {
  await open(page, '/kernel?view=namespaces')
  await expect(page.getByText('Many sockets in TIME_WAIT').first()).toBeVisible()
  await expect(page.getByRole('table', { name: /Listening sockets/ }).first()).toBeVisible()
  await accessible(page)
})

test('audit findings open with parents and technique, and are filtered by rule and severity', async ({ page }) => {
  await open(page, `/kernel/audit?q=service.name+%3D+${service}`)
  const table = page.getByRole('table', { name: 'Audit' })
  await expect(table.getByRole('row').nth(1)).toBeVisible()
  await page.getByRole('button', { name: /shell from server/ }).click()
  await expect(page).toHaveURL(/kernel\.audit\.findings/)
  await expect(table.getByRole('row').nth(1)).toContainText('A server process started a shell')
  await table.getByRole('row').nth(1).click()
  const panel = page.getByRole('complementary', { name: 'Details' })
  await expect(panel).toContainText('nginx')
  await expect(panel.getByRole('link', { name: 'MITRE ATT&CK T1190' })).toHaveAttribute('href', 'https://attack.mitre.org/techniques/T1190/')
  await settled(page)
  await accessible(page)
  await page.getByRole('button', { name: '≥ critical' }).click()
  await expect(page).toHaveURL(/sev=critical/)
  await expect(page.getByText('Nothing matches in this time range').first()).toBeVisible()
  await page.getByRole('button', { name: 'Rules', exact: true }).click()
  const rule = page.getByRole('table', { name: 'Rules' }).getByRole('row').filter({ hasText: 'A server process started a shell' }).first()
  await rule.click()
  const details = page.getByRole('complementary', { name: 'Details' })
  await expect(details).toContainText('shell_from_server')
  await expect(details).toContainText('Looks for')
  await settled(page)
  await accessible(page)
})

test('rules say whether they are in force, and where they are from', async ({ page }) => {
  test.skip(real, 'a real server was not told any')
  await open(page, '/kernel/audit?view=rules')
  const table = page.getByRole('table', { name: 'Rules' })
  await expect(page.getByText(/in force on 2 hosts/)).toBeVisible()
  await expect(table.getByRole('row').filter({ hasText: 'The backup volume was mounted' })).toContainText('rules.yaml')
  await expect(table.getByRole('row').filter({ hasText: 'A BPF program was loaded' })).toContainText('disabled')
  await expect(table.getByRole('row').filter({ hasText: 'The backup volume was mounted' })).toContainText('1 of 2 hosts')
  // By the keyboard, to its end.
  await page.keyboard.press('j')
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(/rule=/)
  await page.keyboard.press('Escape')
  await expect(page).not.toHaveURL(/rule=/)
})

test('related signals of a service count what the kernel saw', async ({ page }) => {
  await open(page, `/services/${service}?side=1`)
  const related = page.getByRole('region', { name: 'Related' })
  await expect(related.getByRole('link', { name: /^Audit findings \d/ })).toBeVisible()
  await settled(page)
  await accessible(page)
  await related.getByRole('link', { name: /^Connections \d/ }).click()
  await expect(page).toHaveURL(new RegExp(`/kernel\\?from=\\d+&to=\\d+&q=service.name\\+%3D\\+${service}`))
  await page.goBack()
  await related.getByRole('link', { name: /^Audit findings \d/ }).click()
  await expect(page).toHaveURL(/\/kernel\/audit\?/)
  await expect(page.getByRole('table', { name: 'Audit' }).getByRole('row').nth(1)).toBeVisible()
})

test('the story of a kill shows memory against the limit and leads to what the service did', async ({ page }) => {
  await open(page, `/kernel/oom?q=service.name+%3D+${killed}`)
  const story = page.getByRole('article', { name: `${killed} was killed` }).first()
  await expect(story).toContainText('512 MiB')
  await expect(story.locator('canvas').first()).toBeVisible()
  await expect(story.getByRole('table', { name: 'Largest processes below the limit' })).toContainText(killed)
  await settled(page)
  await accessible(page)
  await story.getByRole('link', { name: 'Failed spans around the kill' }).click()
  await expect(page).toHaveURL(/\/traces\?.*status/)
})

test('a service shows what the kernel saw of it', async ({ page }) => {
  await open(page, `/services/${service}`)
  const part = page.locator('section').filter({ has: page.getByRole('heading', { name: 'Kernel', level: 2 }) })
  await expect(part).toContainText('above a limit')
  await settled(page)
  await accessible(page)
  await part.getByRole('link', { name: /above a limit/ }).click()
  await expect(page).toHaveURL(/\/kernel\?.*service\.name/)
})

test('a client span shows its sockets and says how exact that is', async ({ page, request }) => {
  const traceId = real ? await sendKernel(request) : (await someTrace(request)).traceId
  await open(page, `/traces/${traceId}`)
  const marked = page.getByRole('treeitem').filter({ hasText: /Network: \d+ segments sent again/ }).first()
  await marked.click()
  const panel = page.getByRole('complementary')
  await expect(panel.getByRole('heading', { name: /Sockets/ })).toBeVisible()
  await expect(panel.getByText(/of this very socket|of this service to this peer/).first()).toBeVisible()
  await expect(panel).toContainText('Retransmits')
  await settled(page)
  await accessible(page)
})

for (const [path, text] of [['/kernel', '健康'], ['/kernel?view=map', '网络'], ['/kernel/audit', '严重程度'], ['/kernel/audit?view=rules', '来源'], ['/kernel/oom', '被杀死']] as const) {
  test(`${path} in Chinese and dark is accessible`, async ({ page }) => {
    await prefer(page, { theme: 'dark', locale: 'zh-CN' })
    await page.goto(path)
    await expect(page.getByText(text).first()).toBeVisible()
    await settled(page)
    await accessible(page)
  })
}

test('the kernel has its place: g k leads there, and its parts keep the service', async ({ page }) => {
  await open(page, `/logs?q=service.name+%3D+${service}+and+severity+%3E%3D+info`)
  await page.keyboard.press('g')
  await page.keyboard.press('k')
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Kernel')
  await expect(page.getByRole('button', { name: `Edit service.name = ${service}` })).toBeVisible()
  await expect(page.getByRole('button', { name: /severity/ })).toHaveCount(0)
  await page.getByRole('navigation', { name: 'Kernel' }).getByRole('link', { name: 'Out of memory' }).click()
  await expect(page).toHaveURL(/\/kernel\/oom\?.*service\.name/)
})

test('the logs leave the kernel out until they are asked not to', async ({ page }) => {
  test.skip(!real, 'the generated logs have none of the kernel')
  await open(page, `/logs?q=service.name+%3D+${service}`)
  await expect(page.getByText('without the kernel’s records')).toBeVisible()
  await expect(page.getByText('Nothing matches in this time range')).toBeVisible()
  await accessible(page)
  await page.getByRole('button', { name: 'Show the kernel’s records' }).click()
  await expect(page.getByRole('table', { name: 'Logs' }).getByRole('row').nth(1)).toBeVisible()
  await expect(page).toHaveURL(/kernel=1/)
})
