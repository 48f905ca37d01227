import type { Told } from './records.ts'

// Commands of the raw client, written from docs/protocol.md alone as well.
type Param = Record<string, any>
export type RawPlace = readonly [epoch: string, offset: number, tag: string]

export interface RawAnswer {
  readonly end: 'ack' | 'nack' | 'unknown'
  readonly code?: string
  readonly place?: RawPlace | null
  readonly stored?: string
  readonly reply?: any
}

export interface RawSend {
  /** Copies of the frame that are sent; more than one is what a client does that is not sure. */
  readonly copies?: number
  /** It is given up at once after it was sent. */
  readonly void?: boolean
  readonly done: (answer: RawAnswer) => void
}

interface Command extends RawSend {
  readonly channel: string
  readonly body: string
  /** 0 until it was sent. */
  id: number
  state: 'new' | 'sent' | 'again'
  notBefore: number
  copies: number
  /** Copies that were sent and not answered. */
  open: number
}

/** What it needs of its connection. */
export interface RawLink {
  readonly connected: boolean
  readonly joined: ReadonlySet<string>
  readonly refused: ReadonlySet<string>
  readonly places: ReadonlyMap<string, RawPlace>
  write(frame: object | string): void
  wrong(rule: RawWrong, channel: string | undefined, detail: string, before?: Told): void
}

export type RawWrong = 'bad-frame' | 'answer-changed' | 'early-ack'

/** How many settled answers are kept to be held against later ones. */
const KEPT = 1_000

interface Settled extends Told {
  readonly final: string
  readonly stored: boolean
}

export class RawOutbox {
  readonly #link: RawLink
  #nextId = 1
  #later: NodeJS.Timeout | null = null
  /** Those not settled, in the order of their ids and then of `send`. */
  #commands: Command[] = []
  #settled = new Map<number, Settled>()

  constructor(link: RawLink) {
    this.#link = link
  }

  send(channel: string, cmd: string, param: unknown, options: RawSend): void {
    const body = `"channel":${JSON.stringify(channel)},"cmd":${JSON.stringify(cmd)},"param":${JSON.stringify(param)}}`
    this.#commands.push({ copies: 1, ...options, channel, body, id: 0, state: 'new', notBefore: 0, open: 0 })
    this.flush()
  }

  /** How its commands stand that are not settled, in words. */
  explain(): string {
    const { connected, joined, refused } = this.#link
    const now = performance.now()
    const told = this.#commands.map(({ id, channel, state, open, notBefore }) => {
      const place = joined.has(channel) ? 'joined' : refused.has(channel) ? 'refused' : 'not joined'
      return `${id} ${state}, ${open} open, ${channel} ${place}${notBefore > now ? `, in ${Math.round(notBefore - now)} ms` : ''}`
    })
    return `${connected ? 'connected' : 'not connected'}, next id ${this.#nextId}: ${told.join('; ')}`
  }

  /** What was sent and not answered is sent again on the next connection of the session. */
  linkLost(): void {
    if (this.#later !== null) clearTimeout(this.#later)
    for (const command of this.#commands) if (command.state === 'sent') command.state = 'again'
  }

  /** Another session: ids begin at 1, and nobody will say any more what became of what was sent and not answered. */
  begin(): void {
    this.#nextId = 1
    this.#settled.clear()
    for (const command of this.#commands.filter(({ id }) => id > 0)) {
      if (command.open > 0) this.#settle(command, { end: 'unknown' })
      else Object.assign(command, { id: 0, state: 'new', notBefore: 0 })
    }
  }

  /** Sends what may go, in order: ids that were given before come first, and none overtakes another of its channel. */
  flush(): void {
    const { connected, joined, refused } = this.#link
    if (!connected) return
    const held = new Set<string>()
    const now = performance.now()
    let soonest = Number.POSITIVE_INFINITY
    let stuck = false
    for (const command of [...this.#commands]) {
      const { channel, state, id, notBefore } = command
      if (state === 'sent') continue
      if (notBefore > now) {
        held.add(channel)
        soonest = Math.min(soonest, notBefore)
      }
      if (held.has(channel)) continue
      if (joined.has(channel)) {
        if (!stuck) this.#put(command)
        continue
      }
      held.add(channel)
      if (refused.has(channel)) this.#giveUp(command)
      // The server takes no id before those below it.
      else if (id > 0) stuck = true
    }
    if (this.#later !== null) clearTimeout(this.#later)
    const waits = soonest < Number.POSITIVE_INFINITY
    this.#later = waits ? setTimeout(() => this.flush(), Math.max(5, soonest - now)) : null
  }

  answered(id: number, channel: string | undefined, acked: boolean, param: Param): void {
    const command = this.#commands.find(entry => entry.id === id)
    const place = placeOf(param.position)
    const final = acked ? `ack ${place}` : param.retry ? null : `nack ${param.code}`
    if (command === undefined) {
      const before = this.#settled.get(id)
      if (final === null || before === undefined || before.final === final) return
      // That it has run without a trace, or was refused, is kept no longer than the process.
      if (!before.stored && final === 'nack voided') return
      const by = before.boot === undefined ? '' : ` of process ${before.boot}`
      const detail = `command ${id}: first ${before.final}${by} at ${before.at}, then ${final}`
      this.#link.wrong('answer-changed', channel, detail, before)
      return
    }
    command.open--
    if (final === null) {
      this.#refusedForNow(command, param)
      return
    }
    if (acked && place !== null) this.#checkAck(command.channel, place)
    const { stored, reply, code } = param
    const at = Number(process.hrtime.bigint()) / 1e6
    this.#settled.set(id, { final, stored: acked && stored !== 'none', at, ...(reply?.b && { boot: reply.b }) })
    this.#settled.delete(id - KEPT)
    this.#settle(command, {
      end: acked ? 'ack' : code === 'result-expired' ? 'unknown' : 'nack',
      code,
      place,
      stored,
      reply
    })
    this.flush()
  }

  #put(command: Command): void {
    if (command.id === 0) command.id = this.#nextId++
    command.state = 'sent'
    command.open = command.copies
    const text = `{"id":${command.id},${command.body}`
    for (let i = 0; i < command.copies; i++) this.#link.write(text)
    command.copies = 1
    if (command.void === true) this.#void(command.channel, command.id)
  }

  /** Its channel will not have us: what was never sent is dropped, the rest is given up in its turn. */
  #giveUp(command: Command): void {
    if (command.id === 0) this.#settle(command, { end: 'nack', code: 'never-sent' })
    else {
      command.state = 'sent'
      this.#void(command.channel, command.id)
    }
  }

  /** An ack follows, on the sender's connection, every publication of the channel up to its position. */
  #checkAck(channel: string, place: RawPlace): void {
    const here = this.#link.joined.has(channel) ? this.#link.places.get(channel) : undefined
    if (here === undefined || here[0] !== place[0] || here[1] >= place[1]) return
    this.#link.wrong('early-ack', channel, `acked at ${place[1]} while delivery stands at ${here[1]}`)
  }

  #refusedForNow(command: Command, { code, from, retryAfterMs }: Param): void {
    command.state = 'again'
    command.notBefore = performance.now() + Math.min(5_000, retryAfterMs ?? (code === 'resend-from' ? 10 : 100))
    if (code === 'resend-from' && from !== command.id) {
      const first = this.#commands.find(entry => entry.id === from)
      // Settled, or never ours: the server waits for an id that will not come.
      if (first === undefined) {
        const to = Math.min(...this.#commands.map(({ id }) => (id > from ? id : this.#nextId))) - 1
        this.#link.write({ channel: command.channel, cmd: '$void', id: from, ...(to > from ? { param: { to } } : {}) })
      } else if (first.state === 'sent') first.state = 'again'
    }
    this.flush()
  }

  #void(channel: string, id: number): void {
    this.#link.write({ channel, cmd: '$void', id })
  }

  #settle(command: Command, answer: RawAnswer): void {
    this.#commands.splice(this.#commands.indexOf(command), 1)
    command.done(answer)
  }
}

export function placeOf(position: Param | undefined): RawPlace | null {
  return position === undefined ? null : [position.epoch, position.offset, position.tag]
}
