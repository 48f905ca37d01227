type Listener = (...args: any[]) => void

/** Listeners by event. Lists are replaced and never changed, so whoever emits goes over a copy. */
export class Emitter {
  #listeners = new Map<string, readonly Listener[]>()

  /** Adds a listener; what comes back removes it again, and does nothing the second time. */
  on(event: string, listener: Listener): () => void {
    // A wrapper of its own, so that undoing one of two equal listeners leaves the other.
    const entry: Listener = (...args) => listener(...args)
    this.#listeners.set(event, [...this.#of(event), entry])
    return () => {
      this.#listeners.set(
        event,
        this.#of(event).filter(other => other !== entry)
      )
    }
  }

  /** Calls every listener; what one throws goes to `failed` and harms no other. */
  emit(event: string, args: readonly unknown[], failed: (error: unknown) => void): void {
    for (const listener of this.#of(event)) {
      try {
        listener(...args)
      } catch (error) {
        failed(error)
      }
    }
  }

  #of(event: string): readonly Listener[] {
    return this.#listeners.get(event) ?? []
  }
}
