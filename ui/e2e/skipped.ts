import type { Reporter, TestCase, TestResult } from '@playwright/test/reporter'

/** Says of each test that is skipped why: a reason that nobody reads is none. */
export default class Skipped implements Reporter {
  onTestEnd(test: TestCase, result: TestResult): void {
    if (result.status !== 'skipped') return
    const why = result.annotations.find((a) => a.type === 'skip' || a.type === 'fixme')?.description
    console.log(`skipped: ${test.title}: ${why ?? 'no reason is given'}`)
  }
}
