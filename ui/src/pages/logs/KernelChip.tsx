import { useQuery } from '@tanstack/react-query'
import { type Question, values } from '../../api/queries'
import { Tip } from '../../components/Button'
import { Icon } from '../../components/Icon'
import { tryParse } from '../../state/filter'
import { useTexts } from '../../state/texts'
import { useSetUrl, useUrl } from '../../state/url'
import { asksForKernel, hideKernel } from './kernel'
import css from './KernelChip.module.css'

/** The question without the kernel's records, and the chip that says so and takes it back. */
export function useKernelHidden(asked: Required<Question>): { question: Required<Question>; chip: React.ReactNode } {
  const t = useTexts()
  const url = useUrl()
  const set = useSetUrl()
  const hidden = url.kernel !== '1' && !url.around && !asksForKernel(tryParse(url.q))
  // Without any, the condition changes nothing, and nothing needs to be said.
  const { data } = useQuery({ ...values({ start: asked.start, end: asked.end }, 'logs', 'scope.name', 'guanlan.kernel.', 1), enabled: hidden })
  if (!hidden) return { question: asked, chip: null }
  const chip = data && data.values.length > 0 && (
    <span className={css.chip}>
      <Tip text={t.kernel.hideRecords}>
        <span className={css.text} tabIndex={0}>
          {t.kernel.hidden}
        </span>
      </Tip>
      <button type="button" className={css.remove} aria-label={t.kernel.showHidden} onClick={() => set({ kernel: '1' })}>
        <Icon name="close" size={10} />
      </button>
    </span>
  )
  return { question: { ...asked, filter: hideKernel(asked.filter) }, chip }
}
