import { ChannelError } from './errors.ts'
import type { Turn } from './turn.ts'

type Listener = (...args: any[]) => void

/** Listeners by event. */
export class Emitter {
  #turn: Turn
  /** Each in an object of its own, so that undoing one of two equal listeners leaves the other. */
  #listeners = new Map<string, Set<readonly [Listener]>>()

  constructor(turn: Turn) {
    this.#turn = turn
  }

  get isHeard(): boolean {
    return [...this.#listeners.values()].some(({ size }) => size)
  }

  /** Adds a listener; what comes back removes it again, and does nothing the second time. */
  on(event: string, listener: Listener): () => void {
    const entry = [listener] as const
    const entries = this.#listeners.get(event) ?? new Set()
    this.#listeners.set(event, entries.add(entry))
    return () => void entries.delete(entry)
  }

  /** Tells every listener when the step is done, if `still` then holds; what one throws harms no other. */
  emit(event: string, args: readonly unknown[], still: () => boolean = () => true): void {
    this.#turn.tell(() => {
      if (!still()) return
      // Over a copy: who listens from now on hears of what happens from now on.
      for (const [listener] of [...(this.#listeners.get(event) ?? [])]) {
        try {
          listener(...args)
        } catch (cause) {
          this.#turn.report(new ChannelError('listener-failed', { cause, cmd: event }), event)
        }
      }
    })
  }
}
