/** What a connection knows of a membership; the channel layer keeps the rest. */
export interface Membership {
  readonly name: string
  /** `joining` while it is being decided. */
  readonly state: 'joining' | 'joined' | 'ended'
}

/** From this many on a Map finds one sooner than a walk. */
const MANY = 9

/**
 * One connection's memberships, by the channel's name and in the order in which they were made. Most connections have one
 * or two, for which a Map of their own would take twice the memory.
 */
export class Memberships {
  #few: readonly Membership[] = []
  /** In place of the few once there are many. */
  #many: Map<string, Membership> | null = null

  get size(): number {
    return this.#many?.size ?? this.#few.length
  }

  get(name: string): Membership | undefined {
    if (this.#many !== null) return this.#many.get(name)
    for (const membership of this.#few) if (membership.name === name) return membership
    return undefined
  }

  /** Takes the place of the one of that name, if there is one. */
  add(membership: Membership): void {
    this.delete(membership.name)
    // Without room for more, unlike after a push.
    if (this.#many === null && this.#few.length + 1 < MANY) this.#few = this.#few.concat(membership)
    else {
      this.#many ??= new Map(this.#few.map(one => [one.name, one]))
      this.#few = []
      this.#many.set(membership.name, membership)
    }
  }

  delete(name: string): void {
    if (this.#many !== null) this.#many.delete(name)
    else if (this.get(name) !== undefined) this.#few = this.#few.filter(one => one.name !== name)
  }

  /** As they are now: they may change while they are walked. */
  all(): readonly Membership[] {
    return this.#many === null ? this.#few : [...this.#many.values()]
  }
}
