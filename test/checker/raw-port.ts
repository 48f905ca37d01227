import type { Actor, Answer, Port, SendHow } from './actor.ts'
import type { Payload } from './payload.ts'
import { RawClient } from './raw-client.ts'
import type { Place } from './records.ts'

/** The independent client as a port of an actor. */
export class RawPort implements Port {
  readonly client: RawClient
  readonly #actor: Actor
  /** The session in which a command that is excepted from its sender was first sent. */
  readonly #excepted = new Map<string, string>()
  #session = ''

  constructor(actor: Actor, url: string) {
    const { user, address, channels, p } = actor.plan
    this.#actor = actor
    this.client = new RawClient({
      url,
      headers: { 'x-user': user },
      localAddress: address,
      early: p % 4 < 2,
      random: Math.random,
      events: {
        welcome: session => {
          this.#session = session
        },
        joined: (channel, { outcome, position }, given, asked) => {
          const place: Place | null = position === undefined ? null : [position.epoch, position.offset, position.tag]
          actor.recorders.get(channel)?.join(outcome, place, { given, ...(asked === null ? {} : { asked }) })
        },
        publication: ({ channel = '', via = channel, cmd, param, offset, tag }, epoch) =>
          this.#heard(via, cmd, param, offset === undefined ? null : [epoch!, offset, tag!]),
        skip: (channel, ...place) => actor.recorders.get(channel)?.skipped(...place),
        gap: (channel, { from, to, reason, position: { epoch, offset, tag } }) =>
          actor.recorders.get(channel)?.gap(from, to, reason, [epoch, offset, tag]),
        left: (channel, reason) => actor.recorders.get(channel)?.left(reason),
        closed: (code, reason, stays) => this.#closed(code, reason, stays),
        wrong: (rule, channel, detail, before) => actor.found(rule, channel, detail, before)
      }
    })
    for (const channel of channels) this.client.want(channel)
  }

  send(channel: string, cmd: string, param: Payload, how: SendHow, done: (answer: Answer) => void): void {
    if (param.x === 1) this.#excepted.set(`${channel} ${param.n}`, this.#session)
    const settle = (answer: Answer): void => done(answer.code === 'never-sent' ? { ...answer, end: 'never' } : answer)
    this.client.send(channel, cmd, param, { ...how, done: settle })
  }

  want(channel: string): void {
    this.client.want(channel)
  }

  present(channel: string): readonly string[] | null {
    const there = this.client.present.get(channel)
    return there === undefined ? null : [...there]
  }

  pause(on: boolean): void {
    this.client.pause(on)
  }

  explain(): string {
    return this.client.explain()
  }

  end(): void {
    this.client.end()
  }

  #heard(channel: string, cmd: string, param: Payload, place: Place | null): void {
    const { p } = this.#actor.plan
    if (param?.x === 1 && param.p === p && this.#excepted.get(`${channel} ${param.n}`) === this.#session) {
      this.#actor.found('excluded-told', channel, `its own ${param.n}`)
    }
    this.#actor.heard(channel, cmd, param, place)
  }

  #closed(code: number, reason: string, stays: boolean): void {
    for (const recorder of this.#actor.recorders.values()) recorder.left('cut')
    reportClose(this.#actor, code, reason, stays)
  }
}

/** How much longer than a fault its consequences may last. */
const AFTERMATH_MS = 3_000

/**
 * A client that keeps to the rules is never sent away, and is taken for silent only where its link was. The shipped client
 * itself closes 4001 too, where it hears nothing of the server; its reason is one word.
 */
export function reportClose(actor: Actor, code: number, reason: string, stays: boolean): void {
  const silent = code === 4001 && reason !== 'silent' && !actor.linkTroubled(AFTERMATH_MS)
  if (stays || silent || code === 4002) actor.found('sent-away', undefined, `closed ${code} ${reason}`)
}
