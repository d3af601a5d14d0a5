import { createRootRoute, createRoute, createRouter, type ErrorComponentProps, lazyRouteComponent } from '@tanstack/react-router'
import { Shell } from './components/Shell'
import { Broken, NotFound } from './components/States'
import { parseSearch, stringifySearch, validateSearch } from './state/url'

const root = createRootRoute({ component: Shell, validateSearch, notFoundComponent: NotFound })

const at = <const P extends string>(path: P, page: () => Promise<{ default: () => React.ReactNode }>) =>
  createRoute({ getParentRoute: () => root, path, component: lazyRouteComponent(page) })

const routes = root.addChildren([
  at('/', () => import('./pages/overview/OverviewPage')),
  at('/services', () => import('./pages/services/ServicesPage')),
  at('/services/$service', () => import('./pages/service/ServicePage')),
  at('/traces', () => import('./pages/traces/TracesPage')),
  at('/traces/$traceId', () => import('./pages/trace/TracePage')),
  at('/logs', () => import('./pages/logs/LogsPage')),
  at('/metrics', () => import('./pages/metrics/MetricsPage')),
  at('/kernel', () => import('./pages/kernel/NetworkPage')),
  at('/kernel/audit', () => import('./pages/kernel/AuditPage')),
  at('/kernel/oom', () => import('./pages/kernel/OOMPage')),
  at('/profiles', () => import('./pages/profiles/ProfilesPage')),
  at('/settings', () => import('./pages/settings/SettingsPage')),
])

function Crashed({ error, reset }: ErrorComponentProps) {
  return <Broken error={error} onRetry={reset} />
}

export const router = createRouter({
  routeTree: routes,
  parseSearch,
  stringifySearch,
  defaultPreload: 'intent',
  defaultErrorComponent: Crashed,
  // Pages draw their own skeletons; a page that loads late keeps the last one.
  defaultPendingMs: 1000,
  scrollRestoration: false,
})

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}
