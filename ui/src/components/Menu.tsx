import * as Dropdown from '@radix-ui/react-dropdown-menu'
import type { ReactNode } from 'react'
import { Icon, type IconName } from './Icon'
import css from './Menu.module.css'

export interface MenuItem {
  text: string
  icon?: IconName
  checked?: boolean
  onSelect: () => void
}

/** A button with a list of things to do. The trigger must take a ref and props. */
export function Menu({ trigger, items, label }: { trigger: ReactNode; items: readonly MenuItem[]; label: string }) {
  return (
    // A modal menu would lock scrolling with a style element, which the
    // content security policy forbids.
    <Dropdown.Root modal={false}>
      <Dropdown.Trigger asChild>{trigger}</Dropdown.Trigger>
      <Dropdown.Portal>
        <Dropdown.Content className={css.menu} sideOffset={4} align="end" aria-label={label}>
          {items.map((i) =>
            i.checked === undefined ? (
              <Dropdown.Item key={i.text} className={css.item} onSelect={i.onSelect}>
                {i.icon && <Icon name={i.icon} />}
                {i.text}
              </Dropdown.Item>
            ) : (
              <Dropdown.CheckboxItem key={i.text} className={css.item} checked={i.checked} onSelect={i.onSelect}>
                <span className={css.check}>{i.checked && <Icon name="check" />}</span>
                {i.text}
              </Dropdown.CheckboxItem>
            ),
          )}
        </Dropdown.Content>
      </Dropdown.Portal>
    </Dropdown.Root>
  )
}
