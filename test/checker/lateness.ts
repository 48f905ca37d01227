import type { Actor } from './actor.ts'
import type { Recorder } from './recorder.ts'
import { now } from './records.ts'
import { strain } from './strain.ts'

/** After the end of a fault a connected subscriber is at the head, or told of a gap, within this. */
const BOUND_MS = 5_000
/** And connected again within this: its backoff, the server's spread, and a link that has to be found dead. */
const BACK_MS = 15_000
const STEP_MS = 500

/** Looks from time to time whether every subscriber is where it should be, as far as this process can tell. */
export class Lateness {
  readonly #actors: readonly Actor[]
  /** What anybody had seen of each channel, with its time; the oldest first. */
  readonly #seen = new Map<string, Array<{ at: number; epoch: string; offset: number }>>()
  readonly #told = new Set<string>()
  readonly #timer: NodeJS.Timeout
  #last = now()
  /** When the server's latest process began, as far as is known here. */
  #since = Number.NEGATIVE_INFINITY

  constructor(actors: readonly Actor[]) {
    this.#actors = actors
    this.#timer = setInterval(() => this.#look(), STEP_MS)
  }

  /** Another server process: its store may have been put back, so that nobody comes again to where others were. */
  restarted(): void {
    this.#seen.clear()
    this.#since = now()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    const at = now()
    const stood = at - this.#last > 2 * STEP_MS
    this.#last = at
    // This process stood still itself: what it has not read it cannot judge by.
    if (stood) for (const actor of this.#actors) actor.calmSince = Math.max(actor.calmSince, at)
    for (const actor of this.#actors) this.#note(actor, at)
    for (const actor of this.#actors) if (actor.troubles === 0) this.#judge(actor, at)
  }

  #note(actor: Actor, at: number): void {
    for (const [channel, { place, joined, joinedAt }] of actor.recorders) {
      if (!joined || place === null || joinedAt < this.#since) continue
      const seen = this.#seen.get(channel) ?? []
      this.#seen.set(channel, seen)
      const [epoch, offset] = place
      const last = seen.at(-1)
      if (last === undefined || (last.epoch === epoch ? offset > last.offset : last.at < at))
        seen.push({ at, epoch, offset })
      while (seen.length > 1 && seen[1]!.at < at - 2 * BOUND_MS * strain()) seen.shift()
    }
  }

  #judge(actor: Actor, at: number): void {
    const calmMs = at - actor.calmSince
    const boundMs = BOUND_MS * strain()
    for (const [channel, recorder] of actor.recorders) {
      const { joined, joinedAt, place } = recorder
      const key = `${actor.plan.p} ${channel}`
      if (!joined) {
        if (calmMs > BACK_MS * strain() && actor.mayJoin(channel) && !this.#told.has(key)) {
          this.#told.add(key)
          recorder.anomaly('not-back', `not joined ${Math.round(calmMs)} ms after the last fault`)
        }
        continue
      }
      if (place === null || calmMs < boundMs || at - joinedAt < boundMs || joinedAt < this.#since) continue
      const due = this.#seen.get(channel)?.findLast(seen => seen.at < at - boundMs)
      if (
        due === undefined ||
        due.epoch !== place[0] ||
        nextFor(recorder, place[1]) > due.offset ||
        this.#told.has(key)
      )
        continue
      this.#told.add(key)
      recorder.anomaly(
        'late',
        `at ${place[1]} where another was at ${due.offset} more than ${Math.round(boundMs)} ms ago`
      )
    }
  }
}

/** The offset that a subscriber hears of next. */
function nextFor({ excepted }: Recorder, offset: number): number {
  let next = offset + 1
  while (excepted.has(next)) next++
  return next
}
