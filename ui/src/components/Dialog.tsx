import * as Radix from '@radix-ui/react-dialog'
import type { ReactNode } from 'react'
import css from './Dialog.module.css'

/** A window above the page; closes with Esc or a click outside. */
export function Dialog({ title, showTitle = true, onClose, children }: { title: string; showTitle?: boolean; onClose: () => void; children: ReactNode }) {
  return (
    <Radix.Root open onOpenChange={(open) => !open && onClose()}>
      <Radix.Portal>
        {/* Radix's own overlay locks scrolling with a style element, which the content security policy forbids. */}
        <div className={css.veil} />
        <Radix.Content className={css.dialog} aria-describedby={undefined}>
          <Radix.Title className={showTitle ? css.title : 'hidden-text'}>{title}</Radix.Title>
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  )
}

export function DialogBody({ children }: { children: ReactNode }) {
  return <div className={css.body}>{children}</div>
}
