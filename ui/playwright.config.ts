// End-to-end tests in a real Chromium.
//
//   npm run build && npm run e2e                    against generated telemetry
//   GUANLAN_URL=http://127.0.0.1:4390 npm run e2e   against a running Guanlan, for example `make demo`

import { existsSync } from 'node:fs'
import { defineConfig } from '@playwright/test'

const server = process.env.GUANLAN_URL
const port = 24399

// A browser of the system, so that none has to be downloaded.
const browser = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((p) => p && existsSync(p))

export default defineConfig({
  testDir: 'e2e',
  // A real server has one mood.
  testIgnore: server ? '**/moods.spec.ts' : [],
  outputDir: 'test-results',
  timeout: 60_000,
  expect: { timeout: 10_000 },
  // Budgets are measured: nothing else runs at the same time.
  workers: 1,
  // Machines of CI are shared: a budget that is kept once is kept.
  retries: process.env.CI ? 2 : 0,
  reporter: [['list'], ['./e2e/skipped.ts']],
  use: {
    baseURL: server ?? `http://127.0.0.1:${port}`,
    viewport: { width: 1440, height: 900 },
    locale: 'en',
    launchOptions: {
      executablePath: browser,
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
    },
  },
  webServer: server ? undefined : { command: `npx vite preview --mode fixture --host 127.0.0.1 --port ${port} --strictPort`, url: `http://127.0.0.1:${port}/guanlan/v1/status` },
})
