import { Button } from '../../components/Button'
import { Command, Empty } from '../../components/States'
import { useTexts } from '../../state/texts'
import { useSetUrl, useUrl } from '../../state/url'

/** No profile at all in the time range: look further, and the two ways to get some. */
export function Nothing() {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const door = `${location.origin}/api/v1/profiles?type=cpu&service.name=my-service`
  return (
    <Empty title={t.profiles.nothing} hint={t.profiles.nothingKernel}>
      <Command text="sudo guanlan up --kernel" />
      <p>{t.profiles.nothingPost}</p>
      <Command text={`curl -s 'http://localhost:6060/debug/pprof/profile?seconds=10' |\n  curl --data-binary @- '${door}'`} />
      {url.from !== 'now-1d' && (
        <Button icon="wider" onClick={() => set({ from: 'now-1d', to: undefined })}>
          {t.state.widen}
        </Button>
      )}
    </Empty>
  )
}

/** Profiles of the type are known, but of other times; waits are taken only if asked for. */
export function NoSamples({ type }: { type: string | undefined }) {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  return (
    <Empty title={t.profiles.noSamples} hint={t.profiles.noSamplesHint}>
      {type === 'off_cpu' && (
        <>
          <p>{t.profiles.offCPUHint}</p>
          <Command text="sudo guanlan up --kernel --set receivers::kernel::profile::off_cpu=true" />
        </>
      )}
      {url.from !== 'now-1d' && (
        <Button icon="wider" onClick={() => set({ from: 'now-1d', to: undefined })}>
          {t.state.widen}
        </Button>
      )}
    </Empty>
  )
}
