import type { ReactNode } from 'react'
import type { Anchor } from '../api/queries'
import { useKeys } from '../state/keys'
import { useTexts } from '../state/texts'
import { IconButton } from './Button'
import { Related } from './Related'
import css from './SidePanel.module.css'

interface Props {
  title: ReactNode
  /** What the Related part is about; it always stands at the top. */
  anchor?: Anchor
  onClose: () => void
  tools?: ReactNode
  wide?: boolean
  children?: ReactNode
}

/** What is selected, at the right of every page. Esc closes it. */
export function SidePanel({ title, anchor, onClose, tools, wide, children }: Props) {
  const t = useTexts()
  useKeys({ Escape: onClose })
  return (
    <aside className={`${css.panel} ${wide ? css.wide : ''}`} aria-label={typeof title === 'string' ? title : t.common.details}>
      <div className={css.head}>
        <h2 className="cut">{title}</h2>
        {tools}
        <IconButton icon="close" label={t.common.close} shortcut="Esc" onClick={onClose} />
      </div>
      {anchor && <Related anchor={anchor} />}
      {children && (
        <div className={css.body} tabIndex={0}>
          {children}
        </div>
      )}
    </aside>
  )
}
