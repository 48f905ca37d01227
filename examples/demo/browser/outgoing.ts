import type { Position, Socket } from 'fastify-channels/client'
import { ChannelError } from 'fastify-channels/client'
import type { Contract } from '../channels.ts'
import { announce, button, element, setText } from './dom.ts'
import { placeOf } from './places.ts'
import type { RoomChannel } from './room.ts'

/** One message on its way. */
interface Entry {
  /** What is sent; by it the socket's outbox knows the message too. */
  readonly param: { readonly text: string }
  readonly item: HTMLElement
  readonly state: HTMLElement
}

/** What the room does for it. */
interface Host {
  /** Whether the message of that place is shown among what was said. */
  readonly isSaid: (position: Position) => boolean
  /** Gives a text back to be changed. */
  readonly edit: (text: string) => void
}

/** Our own messages until they are shown among what was said. Each ends in one of: said, refused, unknown. */
export class Outgoing {
  readonly #socket: Socket<Contract>
  readonly #channel: RoomChannel
  readonly #list: HTMLElement
  readonly #host: Host
  readonly #waiting = new Set<Entry>()
  /** Those that the server has taken, by their places, until they are said. */
  readonly #taken = new Map<string, HTMLElement>()

  constructor(socket: Socket<Contract>, channel: RoomChannel, list: HTMLElement, host: Host) {
    this.#socket = socket
    this.#channel = channel
    this.#list = list
    this.#host = host
    channel.on('$state', () => this.#refresh())
    socket.on('$outbox', () => this.#refresh())
  }

  async send(text: string): Promise<void> {
    const state = element('p', 'state-words')
    const item = element('li', 'message own', element('p', 'text', text), state)
    const entry: Entry = { param: { text }, item, state }
    this.#waiting.add(entry)
    this.#list.append(item)
    this.#refresh()
    item.scrollIntoView({ block: 'nearest' })
    try {
      const { position } = await this.#channel.send('chat-message', entry.param)
      this.#waiting.delete(entry)
      this.#acknowledged(entry, position)
    } catch (error) {
      this.#waiting.delete(entry)
      this.#failed(entry, error)
    }
  }

  /** The message of that place is among what was said: here it need not stand any more. */
  said(position: Position): void {
    this.#taken.get(placeOf(position))?.remove()
    this.#taken.delete(placeOf(position))
  }

  /** Of answer and publication either may come first. */
  #acknowledged({ item, state }: Entry, position: Position | null): void {
    if (position === null || this.#host.isSaid(position)) {
      item.remove()
      return
    }
    item.dataset.state = 'sent'
    setText(state, 'Sent')
    this.#taken.set(placeOf(position), item)
  }

  #refresh(): void {
    const joined = this.#channel.state.name === 'joined'
    for (const { param, item, state } of this.#waiting) {
      const left = this.#socket.outbox.some(waiting => waiting.param === param && waiting.state === 'sent')
      item.dataset.state = joined ? 'sending' : 'waiting'
      setText(state, joined ? 'Sending' : left ? UNANSWERED : WAITING)
    }
  }

  #failed(entry: Entry, error: unknown): void {
    const { item, state, param } = entry
    const unknown = error instanceof ChannelError && error.code === 'unknown'
    item.dataset.state = unknown ? 'unknown' : 'refused'
    setText(state, explain(error))
    const remove = (): void => item.remove()
    const again = button(unknown ? 'Send again' : 'Edit', () => {
      remove()
      if (unknown) void this.send(param.text)
      else this.#host.edit(param.text)
    })
    item.append(element('p', 'choices', again, button('Remove', remove)))
    announce(`Your message “${param.text.slice(0, 60)}”: ${explain(error)}`)
  }
}

const WAITING = 'Waiting for the connection'
const UNANSWERED = 'Waiting for the answer – it counts once'

const REASONS: Readonly<Record<string, string>> = {
  unknown: 'We do not know whether it arrived. Check before you send it again.',
  forbidden: 'Not sent: you may not write here.',
  'not-joined': 'Not sent: you are not in this room.',
  'rate-limited': 'Not sent: that was very fast. Wait a moment and try again.',
  'too-many-commands': 'Not sent: that was very fast. Wait a moment and try again.',
  'queue-full': 'Not sent: too many messages are waiting.',
  'too-big': 'Not sent: it is too long.',
  'invalid-param': 'Not sent: the server does not take such a text.',
  closed: 'Not sent: the connection is closed.',
  left: 'Not sent: you have left this room.'
}

function explain(error: unknown): string {
  const code = error instanceof ChannelError ? error.code : ''
  return REASONS[code] ?? 'Not sent: the server did not take it.'
}
