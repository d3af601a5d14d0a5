import { Fragment } from 'react'
import { modName } from '../state/keys'
import { useTexts } from '../state/texts'
import { Dialog, DialogBody } from './Dialog'
import css from './Help.module.css'
import { places } from './Shell'

export default function Help({ onClose }: { onClose: () => void }) {
  const t = useTexts()
  const anywhere: [string, string[]][] = [
    [t.help.palette, [modName, 'K']],
    [t.help.help, ['?']],
    [t.help.filter, ['/']],
    [t.help.shift, ['[', ']']],
    [t.help.widen, ['\\']],
    [t.help.refresh, ['r']],
    [t.help.related, ['i']],
    [t.help.close, ['Esc']],
  ]
  const lists: [string, string[]][] = [
    [t.help.move, ['j', 'k']],
    [t.help.open, ['Enter']],
    [t.help.fold, ['←', '→']],
    [t.help.find, ['f', 'n', 'N']],
  ]
  return (
    <Dialog title={t.help.title} onClose={onClose}>
      <DialogBody>
        <div className={css.columns}>
          <section>
            <h3>{t.help.anywhere}</h3>
            <Keys rows={anywhere} />
          </section>
          <section>
            <h3>{t.help.lists}</h3>
            <Keys rows={lists} />
            <br />
            <h3>{t.palette.places}</h3>
            <Keys rows={places.map((p) => [t.nav[p.name], ['g', p.key]])} />
          </section>
        </div>
      </DialogBody>
    </Dialog>
  )
}

function Keys({ rows }: { rows: [string, string[]][] }) {
  return (
    <dl className={css.list}>
      {rows.map(([text, keys]) => (
        <Fragment key={text}>
          <dt>{text}</dt>
          <dd>
            {keys.map((k) => (
              <kbd key={k}>{k}</kbd>
            ))}
          </dd>
        </Fragment>
      ))}
    </dl>
  )
}
