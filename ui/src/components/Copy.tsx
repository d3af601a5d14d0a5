import { useEffect, useState } from 'react'
import { useTexts } from '../state/texts'
import { middle } from '../state/units'
import { IconButton } from './Button'
import css from './Copy.module.css'

/** Copies also where the clipboard API is missing: on plain HTTP from another machine. */
export async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    const area = document.createElement('textarea')
    area.value = text
    area.style.position = 'fixed'
    document.body.append(area)
    area.select()
    document.execCommand('copy')
    area.remove()
  }
}

function useCopied(): [boolean, (text: string) => void] {
  const [copied, setCopied] = useState(false)
  useEffect(() => {
    if (!copied) return
    const timer = setTimeout(() => setCopied(false), 1500)
    return () => clearTimeout(timer)
  }, [copied])
  return [copied, (text) => void copyText(text).then(() => setCopied(true))]
}

export function CopyButton({ text, label }: { text: string | (() => string); label?: string }) {
  const t = useTexts()
  const [copied, copy] = useCopied()
  return <IconButton small icon={copied ? 'check' : 'copy'} label={copied ? t.common.copied : (label ?? t.common.copy)} onClick={() => copy(typeof text === 'string' ? text : text())} />
}

/** An id: short in the middle, whole on hover, copied whole. */
export function Id({ value, keep = 6 }: { value: string; keep?: number }) {
  return (
    <span className={css.id}>
      <span className="mono" title={value}>
        {middle(value, keep)}
      </span>
      <CopyButton text={value} />
    </span>
  )
}
