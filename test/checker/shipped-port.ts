import type { Channel, Gap, Joined, Message } from 'fastify-channels/client'
import { ChannelError, Socket } from 'fastify-channels/client'
import type { ClientOptions } from 'ws'
import { WebSocket } from 'ws'
import type { Actor, Answer, Port, SendHow } from './actor.ts'
import type { Payload } from './payload.ts'
import { reportClose } from './raw-port.ts'
import type { Place } from './records.ts'

interface Position {
  readonly epoch: string
  readonly offset: number
  readonly tag: string
}

/** Codes that say that the command was not sent, and never will be. */
const NEVER = ['timeout', 'aborted', 'closed', 'left', 'queue-full', 'too-big', 'unserialisable', 'reserved-command']

/** The shipped client as a port of an actor: as an application uses it, with nothing but its public surface. */
export class ShippedPort implements Port {
  readonly #actor: Actor
  readonly #socket: Socket
  readonly #channels = new Map<string, Channel>()
  readonly #excepted = new Map<string, string>()
  #session = ''

  constructor(actor: Actor, url: string) {
    const { user, address, channels } = actor.plan
    const options: ClientOptions = { headers: { 'x-user': user }, localAddress: address, maxPayload: 1 << 24 }
    class Dialled extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols, options)
      }
    }
    this.#actor = actor
    this.#socket = new Socket(url, {
      WebSocket: Dialled,
      backoff: { minMs: 100, maxMs: 2_000, stableMs: 5_000 },
      connectTimeoutMs: 5_000,
      silentSlackMs: 1_000,
      probe: false
    })
    this.#socket.on('$open', ({ session }) => {
      this.#session = session
    })
    this.#socket.on('$close', ({ code, reason, final }) => {
      for (const recorder of actor.recorders.values()) recorder.left('cut')
      reportClose(actor, code, reason, final && reason !== 'checker')
    })
    this.#socket.on('$error', error => {
      const { code, channel, message } = error
      if (['bad-frame', 'listener-failed', 'internal'].includes(code))
        actor.found('bad-frame', channel, `${code}: ${message}`)
    })
    for (const name of actor.recorders.keys()) this.#listen(name)
    for (const name of channels) this.#socket.join(name)
  }

  send(channel: string, cmd: string, param: Payload, _how: SendHow, done: (answer: Answer) => void): void {
    if (param.x === 1) this.#excepted.set(`${channel} ${param.n}`, this.#session)
    this.#socket.send({ channel, cmd, param }).then(
      ({ position, stored, reply }) =>
        done({ end: 'ack', place: placeOf(position), stored, reply: reply as { b?: number } | undefined }),
      error => {
        const code = error instanceof ChannelError ? error.code : String(error)
        done({ end: code === 'unknown' ? 'unknown' : NEVER.includes(code) ? 'never' : 'nack', code })
      }
    )
  }

  want(channel: string): void {
    this.#socket.join(channel)
  }

  present(channel: string): readonly string[] | null {
    const state = this.#channels.get(channel)?.presence
    return state?.members === undefined ? null : state.members.map(({ id }) => id)
  }

  pause(): void {}

  end(): void {
    this.#socket.disconnect(1000, 'checker')
  }

  #listen(name: string): void {
    const channel = this.#socket.channel(name) as Channel
    const recorder = this.#actor.recorders.get(name)!
    this.#channels.set(name, channel)
    channel.on('$joined', ({ outcome, position }: Joined) => recorder.join(outcome, placeOf(position ?? null)))
    channel.on('$left', reason => recorder.left(reason))
    channel.on('$error', () => recorder.left('refused'))
    channel.on('$gap', ({ from, to, reason }: Gap) => recorder.gap(from, to, reason, placeOf(channel.position)))
    for (const cmd of ['said', 'nudged']) {
      channel.on(cmd, (param, message) =>
        this.#heard(name, cmd, param as Payload, message as Message & { position?: Position })
      )
    }
  }

  #heard(channel: string, cmd: string, param: Payload, { position }: { readonly position?: Position }): void {
    const actor = this.#actor
    if (param?.x === 1 && param.p === actor.plan.p && this.#excepted.get(`${channel} ${param.n}`) === this.#session) {
      actor.found('excluded-told', channel, `its own ${param.n}`)
    }
    actor.heard(channel, cmd, param, placeOf(position ?? null))
  }
}

function placeOf(position: Position | null): Place | null {
  return position === null ? null : [position.epoch, position.offset, position.tag]
}
