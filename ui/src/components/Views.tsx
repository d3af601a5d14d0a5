import { type Search, useSetUrl } from '../state/url'
import { Choice } from './Button'
import type { IconName } from './Icon'

interface Props<T extends string> {
  label: string
  value: T
  /** The first is what a link without a view shows. */
  views: readonly { value: T; text: string; icon?: IconName }[]
  /** What else of the URL ends with a view. */
  patch?: Search
  large?: boolean
}

/** The ways to look at what a page shows; the URL says which. */
export function Views<T extends string>({ label, value, views, patch, large }: Props<T>) {
  const set = useSetUrl()
  return <Choice label={label} small={!large} value={value} options={views} onChange={(v) => set({ ...patch, view: v === views[0]?.value ? undefined : v })} />
}
