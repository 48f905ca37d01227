/** What a connection knows of a membership; the channel layer keeps the rest. */
export interface Membership {
  readonly name: string
  /** `joining` while it is being decided. */
  readonly state: 'joining' | 'joined' | 'ended'
}

/** From this many on a Map finds one sooner than a walk. */
const MANY = 9

/**
 * One connection's memberships, by the channel's name and in the order in which they were made. Most connections have one,
 * which needs no list, or a few, for which a Map of their own would take twice the memory.
 */
export class Memberships {
  #few: Membership | readonly Membership[] | null = null
  /** In place of the few once there are many. */
  #many: Map<string, Membership> | null = null

  get size(): number {
    return this.#many?.size ?? listed(this.#few).length
  }

  get(name: string): Membership | undefined {
    if (this.#many !== null) return this.#many.get(name)
    const few = this.#few
    if (few === null || isList(few)) return few?.find(one => one.name === name)
    return few.name === name ? few : undefined
  }

  /** Takes the place of the one of that name, if there is one. */
  add(membership: Membership): void {
    this.delete(membership.name)
    if (this.#many === null && this.#few === null) this.#few = membership
    // Without room for more, unlike after a push.
    else if (this.#many === null && this.size + 1 < MANY) this.#few = listed(this.#few).concat(membership)
    else {
      this.#many ??= new Map(listed(this.#few).map(one => [one.name, one]))
      this.#few = null
      this.#many.set(membership.name, membership)
    }
  }

  delete(name: string): void {
    if (this.#many !== null) this.#many.delete(name)
    else if (this.get(name) === this.#few) this.#few = null
    else if (this.get(name) !== undefined) this.#few = listed(this.#few).filter(one => one.name !== name)
  }

  /** As they are now: they may change while they are walked. */
  all(): readonly Membership[] {
    return this.#many === null ? listed(this.#few) : [...this.#many.values()]
  }
}

function isList(few: Membership | readonly Membership[]): few is readonly Membership[] {
  return Array.isArray(few)
}

function listed(few: Membership | readonly Membership[] | null): readonly Membership[] {
  if (few === null) return []
  return isList(few) ? few : [few]
}
