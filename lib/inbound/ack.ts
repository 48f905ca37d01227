import type { KeptResult } from '../broker/broker.ts'
import type { Position } from '../protocol/position.ts'
import type { Stored } from '../protocol/system.ts'
import { Answer } from './answers.ts'
import type { Dispatcher } from './dispatcher.ts'

/** The ack of a command with that result. */
export function ackOf(dispatcher: Dispatcher, channel: string, id: number, result: KeptResult): Answer {
  const stored = result.position === null ? 'none' : dispatcher.parts.broker.stored
  return new Ack(channel, id, result, stored)
}

/** The same of what the broker has kept: the command's channel is that of the first run, whatever its copy names. */
export function ackOfKept(dispatcher: Dispatcher, id: number, { reply, position }: KeptResult): Answer {
  const space = reply.indexOf(' ')
  return ackOf(dispatcher, reply.slice(0, space), id, { reply: reply.slice(space + 1), position })
}

/** What the broker is given of a reply, to which it is a text like any other. A channel's name has no space. */
export function replyToKeep(channel: string, reply: string): string {
  return `${channel} ${reply}`
}

class Ack extends Answer {
  readonly #position: Position | null
  readonly #stored: Stored

  /** `reply` is JSON text, empty where there is none. */
  constructor(channel: string, id: number, { reply, position }: KeptResult, stored: Stored) {
    super(channel, id, ackText(channel, id, reply, position, stored), reply !== '')
    this.#position = position
    this.#stored = stored
  }

  /** Made for those who need it, who are few. */
  override get bare(): string {
    return !this.replies ? this.text : ackText(this.channel, this.id, '', this.#position, this.#stored)
  }
}

function ackText(channel: string, id: number, reply: string, position: Position | null, stored: Stored): string {
  const place = position === null ? '' : `"position":${JSON.stringify(position)},`
  const answer = reply === '' ? '' : `"reply":${reply},`
  const param = `{${place}${answer}"stored":"${stored}"}`
  // In a channel's name JSON escapes nothing.
  return `{"channel":"${channel}","cmd":"$ack","id":${id},"param":${param}}`
}
