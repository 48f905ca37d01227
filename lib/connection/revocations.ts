import { AgedMap } from '../aged-map.ts'

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
  readonly #tickets = new AgedMap<Ticket, null>()
  /** When each was revoked last. */
  readonly #at = new AgedMap<string, number>()
  #count = 0

  get size(): number {
    return this.#at.size
  }

  take(): Ticket {
    const ticket = { since: this.#count }
    this.#tickets.set(ticket, null)
    return ticket
  }

  /** The check begins anew. */
  renew(ticket: Ticket): void {
    if (!this.#tickets.delete(ticket)) return
    ticket.since = this.#count
    this.#tickets.set(ticket, null)
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
    this.#at.set(keyOf(userId, channel), this.#count)
  }

  /** Whether just this was revoked since the ticket was taken. */
  has(ticket: Ticket, userId: string, channel: string | null): boolean {
    return (this.#at.get(keyOf(userId, channel)) ?? 0) > ticket.since
  }

  #forget(): void {
    const since = this.#tickets.oldest?.key.since ?? this.#count
    for (let first = this.#at.oldest; first !== null && first.value <= since; first = this.#at.oldest) {
      this.#at.delete(first.key)
    }
  }
}

/** No channel's name has a space in it. */
function keyOf(userId: string, channel: string | null): string {
  return `${channel ?? ''} ${userId}`
}
