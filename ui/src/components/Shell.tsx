import { Link, Outlet, useNavigate } from '@tanstack/react-router'
import { lazy, Suspense, useState } from 'react'
import { useKeys } from '../state/keys'
import { useTexts } from '../state/texts'
import { keepFor, keepRange, type Search } from '../state/url'
import { Tip } from './Button'
import { Icon, type IconName } from './Icon'
import css from './Shell.module.css'

const Palette = lazy(() => import('./Palette'))
const Help = lazy(() => import('./Help'))

export type PlaceName = 'overview' | 'services' | 'traces' | 'logs' | 'metrics' | 'profiles' | 'kernel' | 'settings'

interface Place {
  name: PlaceName
  to: '/' | '/services' | '/traces' | '/logs' | '/metrics' | '/profiles' | '/kernel' | '/settings'
  /** Follows g. */
  key: string
  icon: IconName
  /** What of the URL travels along. */
  keep: (last: Search) => Search
}

/** The places of the rail, in its order. */
export const places: readonly Place[] = [
  { name: 'overview', to: '/', key: 'o', icon: 'overview', keep: keepRange },
  { name: 'services', to: '/services', key: 's', icon: 'services', keep: keepRange },
  { name: 'traces', to: '/traces', key: 't', icon: 'traces', keep: keepFor('traces') },
  { name: 'logs', to: '/logs', key: 'l', icon: 'logs', keep: keepFor('logs') },
  { name: 'metrics', to: '/metrics', key: 'm', icon: 'metrics', keep: keepRange },
  { name: 'profiles', to: '/profiles', key: 'p', icon: 'profiles', keep: keepFor('profiles') },
  { name: 'kernel', to: '/kernel', key: 'k', icon: 'kernel', keep: keepFor('network') },
  { name: 'settings', to: '/settings', key: ',', icon: 'settings', keep: keepRange },
]

export function Shell() {
  const t = useTexts()
  const navigate = useNavigate()
  const [dialog, setDialog] = useState<'palette' | 'help'>()
  useKeys({
    'mod+k': () => setDialog('palette'),
    '?': () => setDialog('help'),
    ...Object.fromEntries(places.map((p) => [`g ${p.key}`, () => void navigate({ to: p.to, search: p.keep })])),
  })
  const close = () => setDialog(undefined)
  const link = (p: Place) => (
    <Tip key={p.name} text={t.nav[p.name]} shortcut={`g ${p.key}`} side="right">
      <Link to={p.to} search={p.keep} className={css.place} activeOptions={{ exact: p.to === '/', includeSearch: false }}>
        <Icon name={p.icon} size={18} />
        <span className={css.label}>{t.nav[p.name]}</span>
      </Link>
    </Tip>
  )
  return (
    <div className={css.shell}>
      <a className={css.skip} href="#content">
        {t.nav.skip}
      </a>
      <nav className={css.rail} aria-label={t.nav.label}>
        <Link to="/" search={keepRange} className={css.logo} aria-label="Guanlan" tabIndex={-1}>
          <img src="/favicon.svg" width="32" height="32" alt="" />
        </Link>
        {places.slice(0, -1).map(link)}
        <span className={css.spacer} />
        <Tip text={t.nav.search} shortcut="⌘K / Ctrl K" side="right">
          <button type="button" className={css.place} onClick={() => setDialog('palette')} aria-label={t.palette.label}>
            <Icon name="search" size={18} />
          </button>
        </Tip>
        <Tip text={t.help.title} shortcut="?" side="right">
          <button type="button" className={css.place} onClick={() => setDialog('help')} aria-label={t.help.title}>
            <Icon name="help" size={18} />
          </button>
        </Tip>
        {link(places.at(-1)!)}
      </nav>
      <div className={css.outlet}>
        <Outlet />
      </div>
      <Suspense>
        {dialog === 'palette' && <Palette onClose={close} />}
        {dialog === 'help' && <Help onClose={close} />}
      </Suspense>
    </div>
  )
}
