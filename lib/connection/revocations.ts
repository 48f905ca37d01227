import { AgedMap } from '../aged-map.ts'
import { Linked } from '../linked.ts'

/** Taken before a check: what is revoked from then on makes the check's answer worth nothing. */
export class Ticket extends Linked {
  /** How many revocations there had been. */
  since: number

  constructor(since: number) {
    super()
    this.since = since
  }
}

/**
 * What was revoked while somebody who is no connection yet was being checked. Each is kept as long as there is a ticket
 * that is older, and tickets are held by handshakes alone, which have a time limit.
 */
export class Revocations {
  /** Stands between the latest ticket and the oldest. */
  readonly #ends = new Ticket(Number.POSITIVE_INFINITY)
  /** When each was revoked last. */
  readonly #at = new AgedMap<string, number>()
  #count = 0

  get size(): number {
    return this.#at.size
  }

  take(): Ticket {
    const ticket = new Ticket(this.#count)
    this.#ends.precede(ticket)
    return ticket
  }

  /** The check begins anew. */
  renew(ticket: Ticket): void {
    if (ticket.alone) return
    ticket.leave()
    ticket.since = this.#count
    this.#ends.precede(ticket)
    this.#forget()
  }

  giveBack(ticket: Ticket): void {
    ticket.leave()
    this.#forget()
  }

  /** Of everything, where the channel is null. */
  add(userId: string, channel: string | null): void {
    this.#count++
    if (this.#ends.alone) return
    this.#at.set(keyOf(userId, channel), this.#count)
  }

  /** Whether just this was revoked since the ticket was taken. */
  has(ticket: Ticket, userId: string, channel: string | null): boolean {
    return (this.#at.get(keyOf(userId, channel)) ?? 0) > ticket.since
  }

  #forget(): void {
    const { since } = this.#ends.next
    for (let first = this.#at.oldest; first !== null && first.value <= since; first = this.#at.oldest) {
      this.#at.delete(first.key)
    }
  }
}

/** No channel's name has a space in it. */
function keyOf(userId: string, channel: string | null): string {
  return `${channel ?? ''} ${userId}`
}
