import * as Tooltip from '@radix-ui/react-tooltip'
import type { ComponentProps, ReactNode } from 'react'
import css from './Button.module.css'
import { Icon, type IconName } from './Icon'

const classes = (...names: (string | false | undefined)[]) => names.filter(Boolean).join(' ')

interface ButtonProps extends ComponentProps<'button'> {
  icon?: IconName
  look?: 'plain' | 'primary'
  small?: boolean
}

export function Button({ icon, look, small, className, children, ...rest }: ButtonProps) {
  return (
    <button type="button" className={classes(css.button, look && css[look], small && css.small, className)} {...rest}>
      {icon && <Icon name={icon} size={small ? 14 : 16} />}
      {children}
    </button>
  )
}

interface IconButtonProps extends Omit<ButtonProps, 'children'> {
  icon: IconName
  /** Name for assistive tools and for the tip. */
  label: string
  /** Shortcut shown in the tip. */
  shortcut?: string
}

export function IconButton({ icon, label, shortcut, look = 'plain', small, className, ...rest }: IconButtonProps) {
  return (
    <Tip text={label} shortcut={shortcut}>
      <button type="button" aria-label={label} className={classes(css.button, css[look], css.icon, small && css.small, className)} {...rest}>
        <Icon name={icon} size={small ? 14 : 16} />
      </button>
    </Tip>
  )
}

/** A short text on hover and focus. The child must take a ref and props. */
export function Tip({ text, shortcut, children, side = 'bottom' }: { text: ReactNode; shortcut?: string; children: ReactNode; side?: 'top' | 'bottom' | 'right' | 'left' }) {
  return (
    <Tooltip.Root>
      <Tooltip.Trigger asChild>{children}</Tooltip.Trigger>
      <Tooltip.Portal>
        <Tooltip.Content className={css.tip} side={side} sideOffset={4} collisionPadding={8}>
          {text}
          {shortcut && <span className={css.key}>{shortcut}</span>}
        </Tooltip.Content>
      </Tooltip.Portal>
    </Tooltip.Root>
  )
}

export function TipProvider({ children }: { children: ReactNode }) {
  return (
    <Tooltip.Provider delayDuration={350} skipDelayDuration={200}>
      {children}
    </Tooltip.Provider>
  )
}

/** One of few choices, all visible. */
export function Choice<T extends string>({ label, value, options, onChange, small }: { label: string; value: T; options: readonly { value: T; text: string; icon?: IconName }[]; onChange: (v: T) => void; small?: boolean }) {
  return (
    <div className={css.group} role="group" aria-label={label}>
      {options.map((o) => (
        <Button key={o.value} icon={o.icon} small={small} aria-pressed={o.value === value} onClick={() => onChange(o.value)}>
          {o.text}
        </Button>
      ))}
    </div>
  )
}
