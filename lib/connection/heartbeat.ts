import type { Clock, Timer } from '../protocol/clock.ts'
import { encodeFrame } from '../protocol/message.ts'
import { systemFrame } from '../protocol/system.ts'
import type { Connection } from './connection.ts'
import { encodeText, PING_FRAME } from './frame.ts'

/** Connections are visited in this many groups per interval, so that pings do not leave all at once. */
const SLOTS = 10

const PING = encodeText(encodeFrame(systemFrame('$ping', undefined)))

/** What the last visit saw of a connection whose silence would mean nothing. */
const UNKNOWN = -1

/** Where a connection stands with the heartbeat. */
export interface Pulse {
  /** Its group; -1 where it has none. */
  slot: number
  /** Bytes that had been received at the last visit. */
  received: number
}

/**
 * Pings every connection once an interval, and closes those from which not one byte came between two visits. A client
 * that speaks the protocol is pinged by a `$ping` frame, because a browser's script cannot see WebSocket pings and has to
 * watch us too; a plain one by a WebSocket ping.
 */
export class Heartbeat {
  readonly #clock: Clock
  readonly #stepMs: number
  readonly #onSilent: (connection: Connection) => void
  readonly #slots: Array<Set<Connection>> = Array.from({ length: SLOTS }, () => new Set())
  #size = 0
  #next = 0
  #timer: Timer | null = null
  #due = 0

  constructor(clock: Clock, intervalMs: number, onSilent: (connection: Connection) => void) {
    this.#clock = clock
    this.#stepMs = intervalMs / SLOTS
    this.#onSilent = onSilent
  }

  add(connection: Connection): void {
    // The slot just visited comes round last, after a whole interval.
    const slot = (this.#next + SLOTS - 1) % SLOTS
    connection.slot = slot
    connection.received = UNKNOWN
    this.#slots[slot]!.add(connection)
    this.#size++
    if (this.#timer === null) this.#arm()
  }

  remove(connection: Connection): void {
    if (this.#slots[connection.slot]?.delete(connection) !== true) return
    connection.slot = -1
    if (--this.#size === 0) this.stop()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  #arm(): void {
    this.#due = this.#clock.monotonic() + this.#stepMs
    this.#timer = this.#clock.after(this.#stepMs, () => this.#visit())
  }

  #visit(): void {
    const lateMs = this.#clock.monotonic() - this.#due
    // After a stall of our own the bytes that came meanwhile may not have been read yet: judge nobody by this round.
    if (lateMs > this.#stepMs) this.#forgive()
    const slot = this.#slots[this.#next]!
    this.#next = (this.#next + 1) % SLOTS
    this.#arm()
    for (const connection of slot) this.#beat(connection)
    if (this.#size === 0) this.stop()
  }

  #beat(connection: Connection): void {
    const received = connection.transport.received()
    // What we ourselves do not read cannot show signs of life.
    if (received === connection.received && !connection.paused) {
      this.#onSilent(connection)
      return
    }
    // It may be read again a moment before the next visit, which must not judge by that moment.
    connection.received = connection.paused ? UNKNOWN : received
    connection.sendEncoded(connection.kind === 'plain' ? PING_FRAME : PING, 1)
  }

  #forgive(): void {
    for (const slot of this.#slots) for (const connection of slot) connection.received = UNKNOWN
  }
}
