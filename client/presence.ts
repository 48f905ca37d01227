import type { PresenceMember, PresenceState } from '../lib/protocol/system.ts'

/** Who is in a channel, as far as the server tells. */
export class Presence {
  state: PresenceState | null = null
  #tell: (event: '$presence', ...told: unknown[]) => void

  constructor(tell: (event: '$presence', ...told: unknown[]) => void) {
    this.#tell = tell
  }

  set(state: PresenceState | undefined): void {
    this.state = state ?? null
    if (state) this.#tell('$presence', state)
  }

  /** Leaves come first: who left and came back within one tick is there. */
  moved(joins: readonly PresenceMember[], leaves: readonly PresenceMember[], now?: number): void {
    if (!this.state) return
    const { members, count: before } = this.state
    const count = now ?? before
    const ids = [...leaves, ...joins].map(({ id }) => id)
    const there = members && [...members.filter(({ id }) => !ids.includes(id)), ...joins]
    this.state = there ? { count, members: there } : { count }
    this.#tell('$presence', this.state, { joins, leaves })
  }
}
