import { type ReactNode, useEffect } from 'react'
import { useKeys } from '../state/keys'
import { useTexts } from '../state/texts'
import { useSetUrl, useUrl } from '../state/url'
import { IconButton } from './Button'
import css from './Page.module.css'
import { TimePicker } from './TimePicker'

interface Props {
  /** For the window's title and, without heading, the page's. */
  title: string
  heading?: ReactNode
  tools?: ReactNode
  /** The line under the head: filter or query. */
  bar?: ReactNode
  /** The panel at the right; toggled with the Related button when the page has no selection. */
  side?: ReactNode
  /** Whether the Related button has something to show. */
  related?: boolean
  timeless?: boolean
  children: ReactNode
}

export function Page({ title, heading, tools, bar, side, related, timeless, children }: Props) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  useEffect(() => {
    document.title = `${title} · Guanlan`
  }, [title])
  const toggle = () => set({ side: url.side ? undefined : '1' })
  useKeys({ i: toggle }, related ?? false)
  return (
    <div className={css.page}>
      <header className={css.head}>
        <h1>{heading ?? title}</h1>
        {tools}
        <span className={css.spacer} />
        {!timeless && <TimePicker />}
        {related && <IconButton icon="panel" label={url.side ? t.related.hide : t.related.show} shortcut="i" aria-pressed={url.side !== undefined} onClick={toggle} />}
      </header>
      {bar && (
        <div className={css.bar} role="search" aria-label={title}>
          {bar}
        </div>
      )}
      <div className={css.main}>
        <main id="content" className={css.content} tabIndex={-1}>
          {children}
        </main>
        {side}
      </div>
    </div>
  )
}

export function Crumb({ children }: { children: ReactNode }) {
  return <span className={css.crumb}>{children}</span>
}
