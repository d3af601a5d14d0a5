import * as Popover from '@radix-ui/react-popover'
import { pprofAddress } from '../../api/profiles'
import type { Question } from '../../api/queries'
import { Button } from '../../components/Button'
import { Icon } from '../../components/Icon'
import { Command } from '../../components/States'
import { useTexts } from '../../state/texts'
import css from './ProfilesPage.module.css'

/** The way to the tools that people know. */
export function Pprof({ question, type, base, service }: { question: Question; type: string; base: Question | undefined; service: string }) {
  const t = useTexts()
  const address = pprofAddress(question, type)
  const diff = base ? ` -normalize -diff_base '${quoted(pprofAddress(base, type))}'` : ''
  return (
    <Popover.Root>
      <Popover.Trigger asChild>
        <Button small icon="open">
          {t.profiles.pprof}
        </Button>
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content className={css.popover} align="end" sideOffset={4} collisionPadding={8} aria-label={t.profiles.pprof}>
          <p>{t.profiles.pprofHint}</p>
          <Command text={`go tool pprof -http=:${diff} '${quoted(address)}'`} />
          <p>
            <a className={css.download} href={address} download={`${service || 'all'}.${type}.pb.gz`}>
              <Icon name="down" />
              {t.profiles.download}
            </a>
          </p>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  )
}

/** For a shell, inside of single quotes. */
const quoted = (text: string) => text.replaceAll("'", "'\\''")
