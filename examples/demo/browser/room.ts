import type { Channel, LoadState, Position, Socket } from 'fastify-channels/client'
import type { chatRoomChannel } from 'fastify-channels/controllers'
import type { Contract } from '../channels.ts'
import type { Room } from '../rooms.ts'
import { tellComings } from './comings.ts'
import { Composer } from './composer.ts'
import { byId, find } from './dom.ts'
import { showMembers } from './members.ts'
import { type ChatMessage, Messages } from './messages.ts'
import { Outgoing } from './outgoing.ts'
import { loadPast } from './past.ts'
import { showTyping } from './typing.ts'
import type { View } from './views.ts'

export type RoomChannel = Channel<typeof chatRoomChannel>

/** One room: its messages, its members, and the box to write in. Joined when it is first shown, and kept from then on. */
export class RoomView implements View {
  readonly id: string
  readonly title: string
  readonly element: HTMLElement
  readonly #channel: RoomChannel
  readonly #messages: Messages
  readonly #outgoing: Outgoing
  readonly #load: LoadState

  constructor(socket: Socket<Contract>, { id, title, about }: Room, userId: string, news: () => void) {
    this.id = id
    this.title = title
    this.#channel = socket.channel('chat-room-:room', { room: id })
    this.element = cloneTemplate()
    find(this.element, 'h2').textContent = title
    find(this.element, '.about').textContent = about
    find(this.element, '.log').setAttribute('aria-label', `Messages in ${title}`)
    find(this.element, '.outgoing').setAttribute('aria-label', 'Your messages on their way')
    this.#messages = new Messages(find(this.element, '.log'), userId)
    const form = find<HTMLFormElement>(this.element, '.composer')
    const composer = new Composer(form, this.#channel, title, text => void this.#outgoing.send(text))
    this.#outgoing = new Outgoing(socket, this.#channel, find(this.element, '.outgoing'), {
      isSaid: position => this.#messages.has(position),
      edit: text => composer.edit(text)
    })
    this.#load = loadPast(this.#channel, 'chat-message', {
      show: ({ param, position }) => this.#say(param, position),
      missing: words => this.#messages.missing(words)
    })
    this.#listen(userId, news)
    showMembers(this.#channel, find(this.element, '.members'), userId)
    showTyping(this.#channel, find(this.element, '.typing'), userId)
  }

  show(): void {
    this.#channel.join({ loadState: this.#load })
    this.#messages.scrollToEnd()
  }

  #listen(userId: string, news: () => void): void {
    const channel = this.#channel
    channel.on('chat-message', (message, { position }) => {
      if (this.#say(message, position) && message.user_id !== userId) news()
    })
    tellComings(channel, userId, words => this.#messages.note(words))
    channel.on('$state', () => this.#showAccess())
  }

  #say(message: ChatMessage, position: Position | undefined): boolean {
    const isNew = this.#messages.said(message, position)
    if (position !== undefined) this.#outgoing.said(position)
    return isNew
  }

  #showAccess(): void {
    const { state } = this.#channel
    const refused = state.name === 'refused'
    find(this.element, '.refused').hidden = !refused
    find(this.element, '.talk').hidden = refused
    find(this.element, '.members').hidden = refused
    if (!refused) return
    const name = document.body.dataset.userName ?? ''
    find(this.element, '.refused h3').textContent = `${this.title} is not open to you`
    find(this.element, '.refused p').textContent =
      `You are signed in as ${name}, and this room is for Alice and Bob. The other rooms are open to everybody.`
  }
}

function cloneTemplate(): HTMLElement {
  const element = byId<HTMLTemplateElement>('room').content.firstElementChild!.cloneNode(true) as HTMLElement
  byId('content').append(element)
  return element
}
