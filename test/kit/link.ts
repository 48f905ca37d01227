import type { Pipe } from './pipe.ts'

/** `up` is from the client to the server, `down` the other way. */
export type Direction = 'up' | 'down'

/** One connection between a client and a node, and what can happen to it. */
export class Link {
  readonly up: Pipe<any>
  readonly down: Pipe<any>
  /** Whether the client reads. */
  readonly #reading: (reading: boolean) => void

  constructor(up: Pipe<any>, down: Pipe<any>, reading: (reading: boolean) => void) {
    this.up = up
    this.down = down
    this.#reading = reading
  }

  /** Both ends see the end of the stream, after what was under way; what its sender still held gets no further. */
  cut(): void {
    this.up.breakOff(true)
    this.down.breakOff(true)
  }

  /** Both ends see a reset; what was under way is lost. */
  reset(): void {
    this.up.reset(true)
    this.down.reset(true)
  }

  /** Nothing gets through either way, and neither end is told. */
  block(blocked: boolean): void {
    this.up.block(blocked)
    this.down.block(blocked)
    // A stream that lacks bytes cannot go on.
    if (!blocked && (this.up.swallows || this.down.swallows)) this.reset()
  }

  drop(direction: Direction): void {
    this[direction].swallow()
  }

  delay(ms: number, direction?: Direction): void {
    if (direction !== 'down') this.up.delay(ms)
    if (direction !== 'up') this.down.delay(ms)
  }

  read(reading: boolean): void {
    this.#reading(reading)
  }

  /** Nothing is left of it, and nobody is told. */
  close(): void {
    this.up.close()
    this.down.close()
  }
}
