import { usePreferences } from '../preferences'
import { en, type Texts } from './en'
import { zh } from './zh'

export type { Texts }
export type Locale = 'en' | 'zh-CN'

export const catalogues: Record<Locale, Texts> = { en, 'zh-CN': zh }

export function useLocale(): Locale {
  const { locale } = usePreferences()
  if (locale !== 'auto') return locale
  return navigator.languages.find((l) => /^(?:zh|en)\b/.test(l))?.startsWith('zh') ? 'zh-CN' : 'en'
}

export function useTexts(): Texts {
  return catalogues[useLocale()]
}
