import { ChannelError } from './errors.ts'
import type { Turn } from './turn.ts'

type Listener = (...args: any[]) => void

/** Listeners by event. Lists are replaced and never changed, so whoever emits goes over a copy. */
export class Emitter {
  #turn: Turn
  #listeners = new Map<string, readonly Listener[]>()

  constructor(turn: Turn) {
    this.#turn = turn
  }

  /** Adds a listener; what comes back removes it again, and does nothing the second time. */
  on(event: string, listener: Listener): () => void {
    // A wrapper of its own, so that undoing one of two equal listeners leaves the other.
    const entry: Listener = (...args) => listener(...args)
    const others = (): readonly Listener[] => (this.#listeners.get(event) ?? []).filter(other => other !== entry)
    this.#listeners.set(event, [...others(), entry])
    return () => void this.#listeners.set(event, others())
  }

  /** Tells every listener when the step is done, if `still` then holds; what one throws harms no other. */
  emit(event: string, args: readonly unknown[], still: () => boolean = () => true): void {
    this.#turn.tell(() => {
      if (!still()) return
      for (const listener of this.#listeners.get(event) ?? []) {
        try {
          listener(...args)
        } catch (cause) {
          this.#turn.report(
            new ChannelError('listener-failed', { cause, message: `${event} listener: ${cause}` }),
            event
          )
        }
      }
    })
  }
}
