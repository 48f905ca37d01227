import { ChannelError } from 'fastify-channels/client'
import { announce, button, element, setText } from './dom.ts'
import type { RoomChannel } from './room.ts'

/** One message on its way. */
interface Entry {
  readonly text: string
  readonly item: HTMLElement
  readonly state: HTMLElement
  /** Where it stands among what was said, once it has come back to us. */
  said: HTMLElement | null
}

/** Our own messages until the server has answered. Each ends in one of: sent, refused, unknown. */
export class Outgoing {
  readonly #channel: RoomChannel
  readonly #list: HTMLElement
  readonly #waiting = new Set<Entry>()
  readonly #edit: (text: string) => void

  /** `edit` gives a text back to be changed. */
  constructor(channel: RoomChannel, list: HTMLElement, edit: (text: string) => void) {
    this.#channel = channel
    this.#list = list
    this.#edit = edit
    channel.on('$state', () => this.#refresh())
  }

  get size(): number {
    return this.#waiting.size
  }

  async send(text: string): Promise<void> {
    const state = element('p', 'state-words')
    const item = element('li', 'message own', element('p', 'text', text), state)
    const entry: Entry = { text, item, state, said: null }
    this.#waiting.add(entry)
    this.#list.append(item)
    this.#refresh()
    item.scrollIntoView({ block: 'nearest' })
    try {
      await this.#channel.send('chat-message', { text })
      setText(entry.said ?? state, 'Sent')
      item.remove()
    } catch (error) {
      this.#failed(entry, error)
    } finally {
      this.#waiting.delete(entry)
    }
  }

  /** A message of ours has come back, as everybody gets it: here it need not stand any more. */
  arrived(text: string, said: HTMLElement): void {
    for (const entry of this.#waiting) {
      if (entry.text !== text || entry.said !== null) continue
      entry.said = said
      entry.item.hidden = true
      return
    }
  }

  #refresh(): void {
    const joined = this.#channel.state.name === 'joined'
    for (const { item, state } of this.#waiting) {
      item.dataset.state = joined ? 'sending' : 'waiting'
      setText(state, joined ? 'Sending' : 'Waiting – it is sent as soon as the connection is back')
    }
  }

  #failed(entry: Entry, error: unknown): void {
    const { item, state, text } = entry
    const unknown = error instanceof ChannelError && error.code === 'unknown'
    item.hidden = false
    item.dataset.state = unknown ? 'unknown' : 'refused'
    setText(state, explain(error))
    const remove = (): void => item.remove()
    const again = button(unknown ? 'Send again' : 'Edit', () => {
      remove()
      if (unknown) void this.send(text)
      else this.#edit(text)
    })
    item.append(element('p', 'choices', again, button('Remove', remove)))
    announce(`Your message “${text.slice(0, 60)}”: ${explain(error)}`)
  }
}

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
