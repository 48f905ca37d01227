import type { PresenceMember, PresenceState } from '../protocol/system.ts'

/** Up to this many members are named in a state; above it only their number is told. */
const NAMED_MEMBERS = 100

interface Present {
  readonly member: PresenceMember
  connections: number
}

/** What changed since the last time it was asked. */
export interface PresenceDiff {
  readonly joins: readonly PresenceMember[]
  readonly leaves: readonly PresenceMember[]
  /** How many users there are now: a diff may repeat what its receiver knows, so that it cannot be counted from. */
  readonly count: number
}

/** The users present in one channel: a user is there from the first connection to the last. */
export class Presence {
  readonly #users = new Map<string, Present>()
  /** What was last told of each user who changed since; null where nobody is told. */
  readonly #told: Map<string, PresenceMember | undefined> | null

  /** Where it is told who is there, `takeDiff` has to be called in the end: until then it knows whoever has come and gone. */
  constructor(isTold: boolean) {
    this.#told = isTold ? new Map() : null
  }

  has(id: string): boolean {
    return this.#users.has(id)
  }

  /** One more connection; `member` counts only where it is the user's first here. True where it is. */
  add(id: string, member: PresenceMember): boolean {
    const known = this.#users.get(id)
    if (known !== undefined) {
      known.connections++
      return false
    }
    this.#remember(id)
    this.#users.set(id, { member, connections: 1 })
    return true
  }

  /** One connection fewer. True where it was the user's last here. */
  remove(id: string): boolean {
    const known = this.#users.get(id)!
    if (--known.connections > 0) return false
    this.#remember(id)
    this.#users.delete(id)
    return true
  }

  members(): PresenceMember[] {
    return [...this.#users.values()].map(present => present.member)
  }

  state(): PresenceState {
    // Whoever is told of somebody new has to hear of it if they leave before the others were told.
    for (const [id, told] of this.#told ?? []) this.#told!.set(id, told ?? this.#users.get(id)?.member)
    const count = this.#users.size
    return count > NAMED_MEMBERS ? { count } : { count, members: this.members() }
  }

  /** The changes since the last call; null where there were none. A member who came back otherwise joins anew. */
  takeDiff(): PresenceDiff | null {
    if (this.#told === null || this.#told.size === 0) return null
    const joins: PresenceMember[] = []
    const leaves: PresenceMember[] = []
    for (const [id, told] of this.#told) {
      const member = this.#users.get(id)?.member
      if (member !== undefined) joins.push(member)
      else if (told !== undefined) leaves.push(told)
    }
    this.#told.clear()
    return joins.length === 0 && leaves.length === 0 ? null : { joins, leaves, count: this.#users.size }
  }

  #remember(id: string): void {
    if (this.#told?.has(id) === false) this.#told.set(id, this.#users.get(id)?.member)
  }
}
