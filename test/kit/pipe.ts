import type { Timer } from '../../lib/protocol/clock.ts'
import type { Host } from './timeline.ts'

/** Where a pipe ends. */
export interface Mouth<T> {
  /** Takes what arrived; false where it wants nothing more until it calls `pull`. */
  arrive(item: T): boolean
  /** The other side has ended its stream. */
  ended(): void
  /** The other side has reset the connection. */
  wasReset(): void
}

export interface PipeOptions<T> {
  /** Who receives; what arrives while that host is held arrives when it is released. */
  readonly host: Host
  readonly mouth: Mouth<T>
  /** How much may be under way or wait to be taken, in the items' length; what is over waits with the sender. */
  readonly capacity: number
  /** Milliseconds from one end to the other, for the item at hand. */
  readonly latencyMs: () => number
  /** Cuts an item in two where only a part of it fits; null where items are whole. */
  readonly cut: ((item: T, length: number) => [T, T]) | null
}

type Arrived<T> = { readonly item: T } | 'end'

/** One direction of a connection: ordered, bounded, with latency, and with all that can go wrong. */
export class Pipe<T extends { readonly length: number }> {
  readonly #options: PipeOptions<T>
  readonly #timers = new Set<Timer>()
  #arrived: Arrived<T>[] = []
  /** What the sender still holds. */
  #waiting: Array<{ item: T; readonly done: () => void } | 'end'> = []
  #length = 0
  #lastAt = 0
  #wants = true
  #extraMs = 0
  #blocked = false
  #swallows = false
  /** Nothing more is written. */
  #ended = false
  #over = false

  constructor(options: PipeOptions<T>) {
    this.#options = options
  }

  /** What the sender still holds. */
  get waiting(): number {
    return this.#waiting.reduce((sum, waiting) => sum + (waiting === 'end' ? 0 : waiting.item.length), 0)
  }

  /** `done` is called once all of it is under way: for an empty item, all that was written before. */
  write(item: T, done: () => void): void {
    this.#options.host.timeline.moved()
    if (this.#swallows || this.#over || this.#ended) {
      done()
      return
    }
    this.#waiting.push({ item, done })
    this.#fill()
  }

  /** Ends the stream, after what was written before. Where nothing gets through, only the network itself can tell. */
  end(byNetwork = false): void {
    if (this.#over || this.#ended) return
    if (byNetwork && (this.#swallows || this.#blocked)) {
      this.reset(true)
      return
    }
    if (this.#swallows) return
    this.#ended = true
    this.#waiting.push('end')
    this.#fill()
  }

  /** Ends the stream at once: what the sender still holds is lost. */
  breakOff(byNetwork = false): void {
    const waiting = this.#waiting
    this.#waiting = []
    this.end(byNetwork)
    // Only now: whoever has written all of it may write more.
    for (const each of waiting) if (each !== 'end') each.done()
  }

  /** What is under way is lost, and the receiver is told of a reset. */
  reset(byNetwork = false): void {
    if (this.#over) return
    this.close()
    if (!byNetwork && (this.#swallows || this.#blocked)) return
    const { host, latencyMs, mouth } = this.#options
    host.input(latencyMs() + this.#extraMs, () => mouth.wasReset())
  }

  /** Nothing goes through any more, and nobody is told. */
  close(): void {
    this.#over = true
    this.#forget()
  }

  #forget(): void {
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
    this.#arrived = []
    this.#length = 0
    const waiting = this.#waiting
    this.#waiting = []
    for (const each of waiting) if (each !== 'end') each.done()
  }

  /** The receiver takes nothing until it pulls. */
  stop(): void {
    this.#wants = false
  }

  /** The receiver takes again. */
  pull(): void {
    this.#wants = true
    this.#pump()
  }

  /** Bytes get no further until they may again: as where a cable is out, nothing is lost and nobody is told. */
  block(blocked: boolean): void {
    this.#blocked = blocked
    if (!blocked) this.#pump()
  }

  /** From now on whatever is sent vanishes, and so does what is under way; the sender feels nothing. */
  swallow(): void {
    this.#swallows = true
    this.#forget()
  }

  get swallows(): boolean {
    return this.#swallows
  }

  /** Milliseconds beside the latency. */
  delay(ms: number): void {
    this.#extraMs = ms
  }

  #fill(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (first === 'end') {
        this.#waiting.shift()
        this.#send('end')
        continue
      }
      const room = this.#options.capacity - this.#length
      const { item } = first
      if (item.length === 0) {
        this.#waiting.shift()
        first.done()
      } else if (item.length <= room || (this.#length === 0 && this.#options.cut === null)) {
        this.#waiting.shift()
        this.#send({ item })
        first.done()
      } else if (room > 0 && this.#options.cut !== null) {
        const [now, rest] = this.#options.cut(item, room)
        first.item = rest
        this.#send({ item: now })
      } else return
    }
  }

  #send(what: Arrived<T>): void {
    const { host, latencyMs } = this.#options
    if (what !== 'end') this.#length += what.item.length
    const { now } = host.timeline
    this.#lastAt = Math.max(this.#lastAt, now + latencyMs() + this.#extraMs)
    const timer = host.input(this.#lastAt - now, () => {
      this.#timers.delete(timer)
      this.#arrived.push(what)
      this.#pump()
    })
    this.#timers.add(timer)
  }

  #pump(): void {
    const { mouth, host } = this.#options
    while (this.#wants && !this.#blocked && !this.#over) {
      const first = this.#arrived.shift()
      if (first === undefined) return
      host.timeline.moved()
      if (first === 'end') {
        mouth.ended()
        return
      }
      this.#length -= first.item.length
      // Who takes it may have stopped the pipe meanwhile.
      if (!mouth.arrive(first.item)) this.#wants = false
      this.#fill()
    }
  }
}
