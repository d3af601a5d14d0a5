import type { ReactNode } from 'react'
import type { Schemas } from '../api/client'
import type { Condition } from '../state/filter'
import { attributeText } from '../state/match'
import { useTexts } from '../state/texts'
import { IconButton } from './Button'
import { CopyButton } from './Copy'
import css from './Attributes.module.css'

type Attribute = Schemas['Attribute']

interface Props {
  attributes: readonly Attribute[]
  /** Whose attributes these are; those of events and links are no fields, only their words can be searched for. */
  prefix?: 'span' | 'resource' | 'log' | 'event'
  onFilter?: (c: Condition) => void
}

/** Keys and values; each can be copied and, where filters know it, filtered for and excluded. */
export function Attributes({ attributes, prefix, onFilter }: Props) {
  const t = useTexts()
  return (
    <div className={css.list}>
      {attributes.map((a) => {
        const text = attributeText(a.value)
        // service.name is a field of its own in both signals.
        const field = a.key === 'service.name' && prefix === 'resource' ? a.key : `${prefix}.${a.key}`
        return (
          <div key={a.key} className={css.item}>
            <span className={css.key}>{a.key}</span>
            <span className={css.value} title={a.type}>
              {text || <span className="dim">{t.common.emptyValue}</span>}
            </span>
            <span className={css.actions}>
              <CopyButton text={text} />
              {onFilter && prefix === 'event' && text.trim() && (
                <IconButton small icon="filter" label={t.common.filter} onClick={() => onFilter({ field: '', op: 'text', value: text })} />
              )}
              {onFilter && prefix !== 'event' && (
                <>
                  <IconButton small icon="filter" label={t.common.filter} onClick={() => onFilter({ field, op: '=', value: text })} />
                  <IconButton small icon="exclude" label={t.common.exclude} onClick={() => onFilter({ field, op: '!=', value: text })} />
                </>
              )}
            </span>
          </div>
        )
      })}
    </div>
  )
}

export function Section({ title, mark, children }: { title: string; mark?: ReactNode; children: ReactNode }) {
  return (
    <section className={css.section}>
      <h3>
        {title}
        {mark}
      </h3>
      {children}
    </section>
  )
}

/** Names and values that are not attributes; an empty one is left out. */
export function Facts({ facts }: { facts: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className={css.facts}>
      {facts
        .filter(([, v]) => v !== undefined && v !== null && v !== '' && v !== false)
        .map(([k, v]) => (
          <div key={k} style={{ display: 'contents' }}>
            <dt>{k}</dt>
            <dd>{v}</dd>
          </div>
        ))}
    </dl>
  )
}
