import t from 'tap'
import { interleave } from '../fixtures/interleaving.ts'
import type { Promised } from '../fixtures/witness.ts'
import { PROMISES } from '../fixtures/witness.ts'

/**
 * The same stories in every run, so that a failure is of the change at hand. `SEED=… npx tap run <this file>` plays one
 * story, `FIRST=… RUNS=…` others and more of them.
 */
const { SEED, FIRST = '1', RUNS = '200' } = process.env
const first = Number(SEED ?? FIRST)
const runs = SEED === undefined ? Number(RUNS) : 1

/** Complaints that are shown of each promise: one broken promise tends to break many stories. */
const SHOWN = 5

t.test('whatever hooks and clients do at once, the promises are kept', async t => {
  const complaints = new Map<Promised, Set<string>>()
  let seed = first
  const complain = (broken: Promised, what: string): void => {
    // What was broken once is found again at every later check of the same story.
    complaints.set(broken, (complaints.get(broken) ?? new Set()).add(`SEED=${seed} ${what}`))
  }
  const unhandled = (error: unknown): void => complain('failures', `unhandled: ${error}`)
  process.on('unhandledRejection', unhandled)
  t.teardown(() => process.off('unhandledRejection', unhandled))

  for (; seed < first + runs; seed++) {
    await interleave(seed, complain).catch(error => complain('failures', String(error)))
    // A clock that stands still never leaves the queue of promises, and only after it is a rejection found unhandled.
    await new Promise(resolve => setImmediate(resolve))
  }

  t.comment(`seeds ${first} to ${seed - 1}`)
  for (const [promised, title] of Object.entries(PROMISES)) {
    t.strictSame([...(complaints.get(promised as Promised) ?? [])].slice(0, SHOWN), [], title)
  }
})
