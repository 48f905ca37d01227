/** A sum of what went through. */
export class Traffic implements TrafficStats {
  messagesIn = 0
  bytesIn = 0
  messagesOut = 0
  bytesOut = 0

  add(other: TrafficStats): void {
    this.messagesIn += other.messagesIn
    this.bytesIn += other.bytesIn
    this.messagesOut += other.messagesOut
    this.bytesOut += other.bytesOut
  }
}

/** What went through a connection, a channel or the service. Bytes in are of text, bytes out of whole frames. */
export interface TrafficStats {
  readonly messagesIn: number
  readonly bytesIn: number
  /** Deliveries: a broadcast to ten connections counts ten. */
  readonly messagesOut: number
  readonly bytesOut: number
}

/** How often each limit was met and each refusal was given, by its name or code. */
export class Refusals {
  readonly #counts = new Map<string, number>()

  count(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1)
  }

  toJSON(): Record<string, number> {
    return Object.fromEntries([...this.#counts].sort())
  }
}

export interface ServiceStats extends TrafficStats {
  /** Milliseconds since the service was made. */
  readonly uptimeMs: number
  readonly connections: number
  readonly users: number
  readonly channels: number
  readonly pendingHandshakes: number
  /** Connections since the start, open and closed. */
  readonly opened: number
  readonly closed: number
  /** How often each limit was met: by nack code, by close code's name, by error code of a refused handshake. */
  readonly refusals: Readonly<Record<string, number>>
  readonly perChannel: Readonly<Record<string, TrafficStats & { readonly connections: number }>>
}
