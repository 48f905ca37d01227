import type { Place } from '../records.ts'
import type { History } from './history.ts'

/** A publication as it is known from whoever saw it: an auditor, or the ack that its sender got. */
export interface Known {
  readonly offset: number
  readonly tag: string
  readonly p: number
  readonly n: number
  readonly crc: number
  readonly boot: number
  readonly x: boolean
  /** It was there when the run ended. */
  final: boolean
}

/** A channel's log of one epoch, put together. Where the store was put back an offset may have several entries. */
export class Log {
  readonly channel: string
  readonly epoch: string
  readonly #at = new Map<number, Known[]>()

  constructor(channel: string, epoch: string) {
    this.channel = channel
    this.epoch = epoch
  }

  /** Adds what one saw; what differs from what another saw at the same place is an anomaly. */
  add(known: Known, history: History): void {
    const { offset, tag, p, n, crc, boot } = known
    const there = this.#at.get(offset)
    if (there === undefined) {
      this.#at.set(offset, [known])
      return
    }
    const same = there.find(other => other.boot === boot || other.tag === tag)
    if (same === undefined) there.push(known)
    else if (same.tag !== tag || same.p !== p || same.n !== n || same.crc !== crc || same.boot !== boot) {
      const detail = `at ${offset} one sees ${shown(same)}, another ${shown(known)}`
      history.found('inconsistent-offset', this.channel, detail, undefined, this.around(offset))
    } else if (known.final) same.final = true
  }

  all(): Known[] {
    return [...this.#at.values()].flat().sort((a, b) => a.boot - b.boot || a.offset - b.offset)
  }

  at(offset: number): readonly Known[] {
    return this.#at.get(offset) ?? []
  }

  /** The entry of that server process. */
  of(offset: number, boot: number): Known | undefined {
    return this.at(offset).find(known => known.boot === boot)
  }

  /** The entry that a process has at an offset: the latest that it, or one before it whose store it has, put there. */
  seenBy(offset: number, boot: number, history: History): Known | undefined {
    const seen = this.at(offset).filter(known => known.boot <= boot && history.survives(known.boot, boot))
    return seen.reduce<Known | undefined>(
      (best, known) => (best === undefined || known.boot > best.boot ? known : best),
      undefined
    )
  }

  around(offset: number): string[] {
    return Array.from({ length: 21 }, (_, i) => offset - 10 + i).flatMap(o => this.at(o).map(shown))
  }
}

export function shown({ offset, tag, p, n, boot, x }: Known): string {
  return `${offset} ${tag} publisher ${p} n ${n} boot ${boot}${x ? ' excepted' : ''}`
}

/** All logs of a run, by channel and epoch. */
export class Logs {
  readonly #logs = new Map<string, Map<string, Log>>()

  constructor(history: History) {
    for (const { c, epoch, offset, tag, p, n, crc, boot, x, final } of history.entries) {
      this.#log(c, epoch).add({ offset, tag, p, n, crc, boot, x: x === 1, final: final === 1 }, history)
    }
    for (const { c, p, n, crc, boot, place, end, x, cmd } of history.commands) {
      if (end !== 'ack' || cmd !== 'say' || !place || boot === undefined) continue
      const [epoch, offset, tag] = place
      this.#log(c, epoch).add({ offset, tag, p, n, crc, boot, x: x === 1, final: false }, history)
    }
  }

  log(channel: string, epoch: string): Log | undefined {
    return this.#logs.get(channel)?.get(epoch)
  }

  of(channel: string): readonly Log[] {
    return [...(this.#logs.get(channel)?.values() ?? [])]
  }

  channels(): readonly string[] {
    return [...this.#logs.keys()]
  }

  /** What a place stands for; undefined where nobody saw it, and at the head of an empty log. */
  at(channel: string, [epoch, offset, tag]: Place): Known | undefined {
    return this.log(channel, epoch)
      ?.at(offset)
      .find(known => known.tag === tag)
  }

  #log(channel: string, epoch: string): Log {
    const epochs = this.#logs.get(channel) ?? new Map<string, Log>()
    const log = epochs.get(epoch) ?? new Log(channel, epoch)
    this.#logs.set(channel, epochs.set(epoch, log))
    return log
  }
}
