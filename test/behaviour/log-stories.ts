import t from 'tap'
import { tellLogStory } from '../fixtures/log-story.ts'
import type { Promise_ } from '../fixtures/truth.ts'
import { PROMISED } from '../fixtures/truth.ts'

/**
 * The same stories in every run, so that a failure is of the change at hand. `SEED=… npx tap run <this file>` plays one
 * story, `FIRST=… RUNS=…` others and more of them.
 */
const { SEED, FIRST = '1', RUNS = '50' } = process.env
const first = Number(SEED ?? FIRST)
const runs = SEED === undefined ? Number(RUNS) : 1

/** Complaints that are shown of each promise: one broken promise tends to break many stories. */
const SHOWN = 5

for (const at of ['near', 'far'] as const) {
  t.test(`whatever clients, links and the store do, the promises are kept (${at})`, async t => {
    const complaints = new Map<Promise_, string[]>()
    let seed = first
    const broken = (promise: Promise_, what: string): void => {
      complaints.set(promise, [...(complaints.get(promise) ?? []), `SEED=${seed} ${what}`])
    }
    const unhandled = (error: unknown): void => broken('rest', `unhandled: ${(error as Error)?.stack}`)
    process.on('unhandledRejection', unhandled)
    t.teardown(() => process.off('unhandledRejection', unhandled))
    for (; seed < first + runs; seed++) {
      await tellLogStory(seed, at, broken).catch(error => broken('rest', String(error?.stack)))
    }
    t.comment(`seeds ${first} to ${seed - 1}`)
    for (const [promise, title] of Object.entries(PROMISED)) {
      t.strictSame((complaints.get(promise as Promise_) ?? []).slice(0, SHOWN), [], `${promise}: ${title}`)
    }
  })
}
