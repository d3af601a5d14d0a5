import react from '@vitejs/plugin-react'
import type { PluginOption } from 'vite'
import { defineConfig } from 'vitest/config'

// With `--mode fixture`, generated telemetry answers instead of a server. The
// generator lives outside src, so that it cannot reach the shipped bundle.
async function backend(mode: string): Promise<PluginOption[]> {
  if (mode !== 'fixture') return []
  const { fixture } = await import('./e2e/fixture/plugin.ts')
  return [fixture()]
}

const server = process.env.GUANLAN_URL ?? 'http://127.0.0.1:8080'

export default defineConfig(async ({ mode }) => ({
  plugins: [react(), await backend(mode)],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: mode === 'fixture' ? {} : { proxy: { '/guanlan': server, '/api': server } },
  test: {
    include: ['src/**/*.test.{ts,tsx}'],
    environment: 'node',
  },
}))
