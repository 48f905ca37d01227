import type { Entry } from '../../lib/broker/broker.ts'
import type { Position } from '../../lib/protocol/position.ts'

/** A publication that a broker has stored. */
export interface Stored {
  readonly channel: string
  readonly epoch: string
  readonly offset: number
  readonly tag: string
  readonly text: string
  readonly except: readonly string[]
}

/** Every publication that any broker of a net has stored, whatever became of that broker. */
export class Ledger {
  readonly #byTag = new Map<string, Stored>()
  readonly #logs = new Map<string, Map<number, Stored>>()
  /** Two publications at one place, one at two: a broker's own mistakes. */
  readonly faults: string[] = []

  note(channel: string, epoch: string, { offset, tag, text, except }: Omit<Entry, 'prev'>): void {
    const log = this.#log(channel, epoch)
    const known = log.get(offset)
    if (known?.tag === tag && known.text === text) return
    const stored: Stored = { channel, epoch, offset, tag, text, except }
    // A store that was put back from a copy counts over the same places again, with other tags.
    if (known?.tag === tag) this.faults.push(`${channel} ${offset} ${tag}: two texts under one tag`)
    const other = this.#byTag.get(tag)
    if (other !== undefined) this.faults.push(`${channel} ${offset} ${tag}: also at ${other.channel} ${other.offset}`)
    log.set(offset, stored)
    this.#byTag.set(tag, stored)
  }

  find(tag: string): Stored | undefined {
    return this.#byTag.get(tag)
  }

  at(channel: string, { epoch }: Pick<Position, 'epoch'>, offset: number): Stored | undefined {
    return this.#log(channel, epoch).get(offset)
  }

  /** What a channel's log has held in an epoch, by offset. */
  of(channel: string): readonly Stored[] {
    return [...this.#logs]
      .filter(([key]) => key.startsWith(`${channel} `))
      .flatMap(([, log]) => [...log.values()].sort((a, b) => a.offset - b.offset))
  }

  #log(channel: string, epoch: string): Map<number, Stored> {
    const key = `${channel} ${epoch}`
    let log = this.#logs.get(key)
    if (log === undefined) {
      log = new Map()
      this.#logs.set(key, log)
    }
    return log
  }
}
