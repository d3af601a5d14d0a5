// What all tests share: a page that must not complain, and data to look at.

import AxeBuilder from '@axe-core/playwright'
import { type APIRequestContext, expect, type Page, test as plain } from '@playwright/test'
import type { components } from '../src/api/schema'

export type Schemas = components['schemas']

/** Whether the tests run against a real server. */
export const real = process.env.GUANLAN_URL !== undefined

interface Guards {
  /** Complaints that a test expects. */
  allowed: RegExp
  guard: void
}

export const test = plain.extend<Guards>({
  allowed: [/^$/, { option: true }],
  // Errors, warnings of the browser (among them breaches of the content
  // security policy) and requests to any other host fail every test.
  guard: [
    async ({ page, baseURL, allowed }, use) => {
      const complaints: string[] = []
      const own = new URL(baseURL!).origin
      page.on('pageerror', (e) => complaints.push(`error: ${e.stack ?? e.message}`))
      page.on('console', (m) => ['error', 'warning'].includes(m.type()) && complaints.push(`${m.type()}: ${m.text()}`))
      page.on('request', (r) => !r.url().startsWith(own) && !/^(data|blob):/.test(r.url()) && complaints.push(`request to ${r.url()}`))
      await use()
      expect(complaints.filter((c) => !allowed.test(c))).toEqual([])
    },
    { auto: true },
  ],
})

export { expect }

/** Preferences as if they had been chosen before. */
export async function prefer(page: Page, preferences: Record<string, unknown>): Promise<void> {
  await page.addInitScript((p) => localStorage.setItem('guanlan.preferences', JSON.stringify(p)), preferences)
}

/** Asks the API; waits for a server that has just started to have what is asked for. */
export async function ask<T>(request: APIRequestContext, path: string, enough: (body: T) => boolean): Promise<T> {
  let body: T | undefined
  await expect
    .poll(
      async () => {
        const response = await request.get(path)
        if (!response.ok()) return false
        body = (await response.json()) as T
        return enough(body)
      },
      { message: `waiting for ${path}`, timeout: 30_000 },
    )
    .toBe(true)
  return body!
}

/** A trace of some services, found without knowing the data. */
export async function someTrace(request: APIRequestContext): Promise<Schemas['TraceSummary']> {
  const rich = (t: Schemas['TraceSummary']) => t.spans >= 4 && t.services.length >= 2 && !t.rootMissing
  // Spans of the newest traces are still coming in.
  const list = await ask<Schemas['TraceList']>(request, '/guanlan/v1/traces?limit=200&start=now-1h&end=now-15s', (l) => l.traces.some(rich))
  return list.traces.find(rich)!
}

/** No rule of axe may be broken. */
export async function accessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze()
  expect(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(' | ')}`)).toEqual([])
}

/** Opens a page and waits until it listens to the keyboard. */
export async function open(page: Page, path: string): Promise<void> {
  await page.goto(path)
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
}

/** Everything that was asked for is here. */
export async function settled(page: Page): Promise<void> {
  await page.waitForLoadState('networkidle')
  await expect(page.getByRole('status', { name: /Loading|加载中/ })).toHaveCount(0)
}
