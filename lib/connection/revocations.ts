/** Taken before a check: what is revoked from then on makes the check's answer worth nothing. */
export interface Ticket {
  /** How many revocations there had been. */
  since: number
}

/**
 * What was revoked while somebody who is no connection yet was being checked. Each is kept as long as there is a ticket
 * that is older, and tickets are held by handshakes alone, which have a time limit.
 */
export class Revocations {
  /** The oldest first. */
  readonly #tickets = new Set<Ticket>()
  /** When each was revoked last, the first to be forgotten first. */
  readonly #at = new Map<string, number>()
  #count = 0

  get size(): number {
    return this.#at.size
  }

  take(): Ticket {
    const ticket = { since: this.#count }
    this.#tickets.add(ticket)
    return ticket
  }

  /** The check begins anew. */
  renew(ticket: Ticket): void {
    if (!this.#tickets.delete(ticket)) return
    ticket.since = this.#count
    this.#tickets.add(ticket)
    this.#forget()
  }

  giveBack(ticket: Ticket): void {
    this.#tickets.delete(ticket)
    this.#forget()
  }

  /** Of everything, where the channel is null. */
  add(userId: string, channel: string | null): void {
    this.#count++
    if (this.#tickets.size === 0) return
    const key = keyOf(userId, channel)
    this.#at.delete(key)
    this.#at.set(key, this.#count)
  }

  /** Whether just this was revoked since the ticket was taken. */
  has(ticket: Ticket, userId: string, channel: string | null): boolean {
    return (this.#at.get(keyOf(userId, channel)) ?? 0) > ticket.since
  }

  #forget(): void {
    const [oldest] = this.#tickets
    const since = oldest?.since ?? this.#count
    for (const [key, at] of this.#at) {
      if (at > since) return
      this.#at.delete(key)
    }
  }
}

/** No channel's name has a space in it. */
function keyOf(userId: string, channel: string | null): string {
  return `${channel ?? ''} ${userId}`
}
