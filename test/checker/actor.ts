import { Chance } from '../fixtures/chance.ts'
import type { Journal } from './journal.ts'
import type { Payload } from './payload.ts'
import { padding, payload } from './payload.ts'
import type { ClientPlan, Plan } from './plan.ts'
import { Recorder } from './recorder.ts'
import type { Command, Ending, Item, Place, Rule, Told } from './records.ts'
import { now } from './records.ts'

/** How a client says that a command has ended. */
export interface Answer {
  readonly end: Ending
  readonly code?: string | undefined
  readonly place?: Place | null | undefined
  readonly stored?: string | undefined
  readonly reply?: { readonly b?: number } | undefined
}

export interface SendHow {
  readonly copies: number
  readonly void: boolean
}

/** A client of either kind. */
export interface Port {
  send(channel: string, cmd: string, param: Payload, how: SendHow, done: (answer: Answer) => void): void
  /** Joins a channel, or asks again. */
  want(channel: string): void
  /** Users in a channel, as it was told; null where it was told none. */
  present(channel: string): readonly string[] | null
  /** Stops reading, or goes on; where the kind can do that. */
  pause(on: boolean): void
  /** How it stands where commands were not settled, in words. */
  explain?(): string
  end(): void
}

/** Commands of one client that may wait for their answers. */
const MOST_WAITING = 16

/** What the processes' counters count. */
export class Counts {
  acked = 0
  deliveries = 0
  sent = 0
  copies = 0
}

/** One client of a run: what it decides to send, what it is answered and what it hears. */
export class Actor {
  readonly plan: ClientPlan
  readonly recorders = new Map<string, Recorder>()
  readonly log: boolean
  port!: Port
  waiting = 0
  /** Faults that it is under, and the end of the last one. */
  troubles = 0
  calmSince = now()
  /** The end of the last fault of its link, or of its reading. */
  #linkSince = Number.NEGATIVE_INFINITY
  #linkTroubles = 0
  readonly #chance: Chance
  readonly #counts: Counts
  readonly #journal: Journal
  readonly #sent = new Map<string, number>()
  readonly #barred = new Set<string>()
  readonly #open = new Map<object, Omit<Command, 'done' | 'end'>>()

  constructor(run: Plan, plan: ClientPlan, journal: Journal, counts: Counts) {
    this.plan = plan
    this.log = run.log
    this.#chance = new Chance(run.seed).child(1_000 + plan.p)
    this.#counts = counts
    this.#journal = journal
    const { p, user, kind } = plan
    const host = {
      write: (item: Item): void => journal.write(item),
      delivered: (): void => {
        counts.deliveries++
      }
    }
    for (const c of new Set(['lobby', ...plan.channels])) {
      // An auditor hears the lobby too; one is enough to write it down.
      if (kind === 'auditor' && c === 'lobby' && plan.channels.length > 0) continue
      this.recorders.set(c, new Recorder({ k: 'subscriber', s: `${p}/${c}`, c, p, user, kind }, host))
    }
  }

  /** Sends the next command that chance has for it, unless too many wait for their answers. */
  act(): void {
    if (this.waiting >= MOST_WAITING) return
    const chance = this.#chance
    const { kind, channels, p } = this.plan
    // All is drawn whatever is used, so that one decision does not move the next.
    const c = chance.oneIn(200) ? 'lobby' : chance.pick(channels)
    const dice = chance.below(100)
    const copies = chance.oneIn(10) ? 2 + chance.below(4) : 1
    const gives = chance.oneIn(100)
    const z = padding(chance, c.startsWith('heavy'))
    const cmd = dice === 0 ? 'fail' : dice <= 2 ? 'nudge' : 'say'
    const x = cmd === 'say' && dice >= 95
    const n = (this.#sent.get(c) ?? 0) + 1
    this.#sent.set(c, n)
    const param = payload(p, n, c, z, x)
    const sure = this.log && kind === 'raw'
    this.#send(c, cmd, param, { copies: sure ? copies : 1, void: sure && gives })
  }

  #send(c: string, cmd: string, param: Payload, how: SendHow): void {
    const { p, n, k, x } = param
    const command = { k: 'command', p, n, c, cmd, crc: k, ...(x === undefined ? {} : { x }), at: now() } as const
    this.#counts.sent++
    this.#counts.copies += how.copies - 1
    this.waiting++
    this.#open.set(command, command)
    this.port.send(c, cmd, param, how, answer => this.#settled(command, answer))
  }

  #settled(command: Omit<Command, 'done' | 'end'>, { end, code, place, stored, reply }: Answer): void {
    if (!this.#open.delete(command)) {
      this.found('answer-changed', command.c, `command ${command.n} was settled once more: ${end} ${code ?? ''}`)
      return
    }
    this.waiting--
    if (end === 'ack') this.#counts.acked++
    if (command.x === 1 && place) this.recorders.get(command.c)?.excepted.add(place[1])
    const parts = {
      ...(code === undefined ? {} : { code }),
      ...(place === undefined ? {} : { place }),
      ...(stored === undefined ? {} : { stored }),
      ...(reply?.b === undefined ? {} : { boot: reply.b })
    }
    this.#journal.write({ ...command, done: now(), end, ...parts })
  }

  /** A publication, at a place in the log or outside of it. */
  heard(channel: string, cmd: string, param: Payload, place: Place | null): void {
    const recorder = this.recorders.get(channel)
    if (recorder === undefined) {
      if (channel !== 'lobby') this.found('foreign', channel, `${cmd} of a channel that this client is not in`)
    } else if (cmd !== 'said' && cmd !== 'nudged') recorder.anomaly('invented', `an event ${cmd}`)
    else if (place === null) recorder.unlogged(param, cmd)
    else if (cmd === 'nudged') recorder.anomaly('bad-frame', 'an ephemeral event has a place in the log')
    else {
      if (this.plan.kind === 'auditor') this.entry(channel, param, place)
      recorder.logged(param, ...place)
    }
  }

  /** Writes an entry of a log down, for deliveries to be held against. */
  entry(c: string, { p, n, k, b = 0, x }: Payload, [epoch, offset, tag]: Place, final = false): void {
    const marks = { ...(x === undefined ? {} : { x }), ...(final ? ({ final: 1 } as const) : {}) }
    this.#journal.write({ k: 'entry', c, epoch, offset, tag, p, n, crc: k, boot: b, ...marks })
  }

  found(rule: Rule, c: string | undefined, detail: string, before?: Told): void {
    const recorder = c === undefined ? undefined : this.recorders.get(c)
    if (recorder !== undefined) {
      recorder.anomaly(rule, detail, undefined, before)
      return
    }
    const s = `${this.plan.p}`
    this.#journal.write({ k: 'anomaly', rule, at: now(), s, ...(c === undefined ? {} : { c }), detail, around: [] })
  }

  /** A fault that concerns this client begins or ends; `link` is one of its own connection. */
  trouble(on: boolean, link: boolean): void {
    this.troubles += on ? 1 : -1
    if (this.troubles === 0) this.calmSince = now()
    if (!link) return
    this.#linkTroubles += on ? 1 : -1
    this.#linkSince = now()
  }

  /** Whether its link is disturbed, or was until a short time ago. */
  linkTroubled(withinMs: number): boolean {
    return this.#linkTroubles > 0 || now() - this.#linkSince < withinMs
  }

  /** A user may not join a channel, or may again, and then does. */
  bar(user: string, channel: string, on: boolean): void {
    if (user !== this.plan.user || !this.recorders.has(channel)) return
    if (on) this.#barred.add(channel)
    else if (this.#barred.delete(channel)) {
      this.calmSince = now()
      this.port.want(channel)
    }
  }

  mayJoin(channel: string): boolean {
    return !this.#barred.has(channel)
  }

  end(): void {
    const stands = this.#open.size > 0 ? this.port.explain?.() : undefined
    if (stands !== undefined) this.found('unsettled', undefined, stands)
    for (const command of this.#open.values()) this.#journal.write({ ...command, done: now(), end: 'pending' })
    for (const recorder of this.recorders.values()) recorder.end()
    this.port.end()
  }
}
