import { useQuery } from '@tanstack/react-query'
import { status } from '../../api/queries'
import { Choice } from '../../components/Button'
import { Page } from '../../components/Page'
import { Broken, SendCommand, Skeleton } from '../../components/States'
import { type Preferences, setPreferences, usePreferences } from '../../state/preferences'
import { catalogues, type Locale, useTexts } from '../../state/texts'
import { About, Crash, Drops, Listeners, Resources, Stores } from './About'
import css from './SettingsPage.module.css'

export default function SettingsPage() {
  const t = useTexts()
  const { data, error, refetch, isPending } = useQuery({ ...status(), refetchInterval: 10_000 })
  return (
    <Page title={t.settings.title} timeless>
      <div className={css.body}>
        <Appearance />
        {error ? (
          <Broken compact error={error} onRetry={() => void refetch()} />
        ) : isPending ? (
          <Skeleton lines={12} />
        ) : (
          <>
            <Crash status={data} />
            <div className={css.two}>
              <About status={data} />
              <Resources status={data} />
            </div>
            <Stores status={data} />
            <Drops status={data} />
            <div className={css.two}>
              <Listeners status={data} />
              <section className={css.section}>
                <h2>{t.settings.send}</h2>
                <SendCommand />
                <p className={css.note}>{t.state.thenRun}</p>
              </section>
            </div>
          </>
        )}
      </div>
    </Page>
  )
}

function Appearance() {
  const t = useTexts()
  const { theme, locale, zone } = usePreferences()
  const themes: Preferences['theme'][] = ['system', 'light', 'dark']
  const zones: Preferences['zone'][] = ['local', 'utc']
  return (
    <section className={css.section}>
      <h2>{t.settings.appearance}</h2>
      <div className={css.form}>
        <span>{t.settings.theme}</span>
        <Choice label={t.settings.theme} value={theme} options={themes.map((v) => ({ value: v, text: t.settings.themes[v]! }))} onChange={(v) => setPreferences({ theme: v })} />
        <span>{t.settings.language}</span>
        <Choice
          label={t.settings.language}
          value={locale}
          options={[{ value: 'auto', text: t.settings.languageAuto }, ...(Object.keys(catalogues) as Locale[]).map((l) => ({ value: l, text: catalogues[l].language }))]}
          onChange={(v) => setPreferences({ locale: v })}
        />
        <span>{t.settings.zone}</span>
        <Choice label={t.settings.zone} value={zone} options={zones.map((v) => ({ value: v, text: t.settings.zones[v]! }))} onChange={(v) => setPreferences({ zone: v })} />
      </div>
      <p className={css.note}>{t.settings.browserOnly}</p>
    </section>
  )
}
