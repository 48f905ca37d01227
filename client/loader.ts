import type { Timer } from '../lib/protocol/clock.ts'
import type { GapReason, Outcome, Position } from '../lib/protocol/position.ts'
import { ChannelError } from './errors.ts'
import type { Port } from './outbox.ts'
import { backoffMs } from './reconnect.ts'
import type { Turn } from './turn.ts'

/** Publications that will not come: those after `from` up to `to`. */
export interface Gap {
  /** Absent where nothing is known of what there was before. */
  readonly from?: number
  readonly to: number
  readonly reason: GapReason
}

/** Why the state is to be loaded, and from where publications follow. */
export interface LoadContext {
  /** Everything up to here has to be in the state. What is told then the state may hold already. Null without a log. */
  readonly position: Position | null
  /** Of the last join. */
  readonly outcome: Outcome
  /** Null at a first join. */
  readonly gap: Gap | null
}

/** Loads what a page shows of a channel, by other means than the channel itself. */
export type LoadState = (context: LoadContext) => unknown

/** What a channel may have to tell while its state is loaded; what comes on top is a gap, and it is loaded for again. */
export const MAX_HELD = 1000

/** Loads a channel's state, and keeps back meanwhile what there is to tell: first the position, then the state, then live. */
export class Loader {
  /** Without it everything is told at once. */
  load: LoadState | undefined
  busy = false
  /** What it was last loaded for. */
  at: LoadContext | undefined
  #port: Port
  #turn: Turn
  #overrun: () => () => void
  #held: Array<() => void> = []
  /** Counts loads: what an earlier one still gives is not heard. */
  #run = 0
  #retry: Timer | undefined

  /** `overrun` gives, where more comes than may be held, what is to be told in place of all the rest. */
  constructor(port: Port, turn: Turn, overrun: () => () => void) {
    this.#port = port
    this.#turn = turn
    this.#overrun = overrun
  }

  /**
   * Tells it now, or once the state is there; false where it will not be told. The load goes on, however many there are: what was
   * held before is told on its state, so that a channel that is always too busy for it makes some progress with each.
   */
  pass(notice: () => void): boolean {
    if (!this.busy) notice()
    else if (this.#held.length < MAX_HELD) this.#held.push(notice)
    else {
      if (this.#held.length === MAX_HELD) this.#held.push(this.#overrun())
      return false
    }
    return true
  }

  /** Loads, again and again until it succeeds: without its state what follows would mean nothing. */
  begin(at: LoadContext, attempt = 0): void {
    const { load } = this
    if (!load) return
    const run = ++this.#run
    this.#retry?.cancel()
    this.busy = true
    this.at = at
    this.#turn.tell(async () => {
      try {
        await load(at)
        if (run === this.#run) this.#turn.run(() => this.#release())
      } catch (cause) {
        if (run !== this.#run) return
        const { clock, backoff } = this.#port.settings
        this.#retry = clock.after(backoffMs(attempt, clock.random(), backoff), () => this.begin(at, attempt + 1))
        this.#turn.report(new ChannelError('listener-failed', { cmd: 'loadState', retry: true, cause }))
      }
    })
  }

  /** What was held may itself say that there is more to load. */
  #release(): void {
    this.busy = false
    while (!this.busy && this.#held[0]) this.#held.shift()!()
  }

  /** Drops what is held, and hears of no load any more. */
  stop(): void {
    this.#run++
    this.busy = false
    this.#held = []
    this.#retry?.cancel()
  }
}
