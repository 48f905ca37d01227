import type { Position } from 'fastify-channels/client'

/** As many are remembered: more than a page shows. */
const MAX_PLACES = 2_000

/** The places in a log that are shown already. What was loaded may also come live, and is shown once. */
export class Places {
  readonly #keys = new Set<string>()

  has(position: Position): boolean {
    return this.#keys.has(placeOf(position))
  }

  /** Whether it is new here. */
  add(position: Position | undefined): boolean {
    if (position === undefined) return true
    if (this.has(position)) return false
    this.#keys.add(placeOf(position))
    for (const oldest of this.#keys) {
      if (this.#keys.size <= MAX_PLACES) break
      this.#keys.delete(oldest)
    }
    return true
  }
}

/** A place in words that can be compared. */
export function placeOf({ epoch, offset, tag }: Position): string {
  return `${epoch} ${offset} ${tag}`
}
