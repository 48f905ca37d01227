import type { PresenceMember, PresenceState } from '../lib/protocol/system.ts'

/** Who is there, from the whole state and the diffs that follow it. */
export class Presence {
  #count = 0
  #members: Map<string, PresenceMember> | null = null

  constructor(state: PresenceState) {
    this.#count = state.count
    if (state.members) this.#members = byId(state.members)
  }

  get state(): PresenceState {
    if (this.#members === null) return { count: this.#count }
    return { count: this.#members.size, members: [...this.#members.values()] }
  }

  /** Leaves come first: who left and came back within one tick is there. */
  apply(joins: readonly PresenceMember[], leaves: readonly PresenceMember[]): void {
    this.#count = Math.max(0, this.#count + joins.length - leaves.length)
    for (const { id } of leaves) this.#members?.delete(id)
    for (const member of joins) this.#members?.set(member.id, member)
  }
}

function byId(members: readonly PresenceMember[]): Map<string, PresenceMember> {
  return new Map(members.map(member => [member.id, member]))
}
