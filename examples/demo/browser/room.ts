import type { Channel, Socket } from 'fastify-channels/client'
import type { chatRoomChannel } from 'fastify-channels/controllers'
import type { Contract } from '../channels.ts'
import type { Room } from '../rooms.ts'
import { Composer } from './composer.ts'
import { byId, find } from './dom.ts'
import { showMembers } from './members.ts'
import { Messages } from './messages.ts'
import { Outgoing } from './outgoing.ts'
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
  #wasJoined = false

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
    this.#outgoing = new Outgoing(this.#channel, find(this.element, '.outgoing'), text => composer.edit(text))
    this.#listen(userId, news)
    showMembers(this.#channel, find(this.element, '.members'), userId)
    showTyping(this.#channel, find(this.element, '.typing'), userId)
  }

  /** Messages that would be lost with the page. */
  get waiting(): number {
    return this.#outgoing.size
  }

  show(): void {
    this.#channel.join()
    this.#messages.scrollToEnd()
  }

  #listen(userId: string, news: () => void): void {
    const channel = this.#channel
    channel.on('chat-message', message => {
      const said = this.#messages.said(message)
      if (message.user_id === userId) this.#outgoing.arrived(message.text, said)
      else news()
    })
    channel.on('user-joined', ({ user_id, username }) => {
      if (user_id !== userId) this.#messages.note(`${username} came in`)
    })
    channel.on('user-left', ({ user_id, username }) => {
      if (user_id !== userId) this.#messages.note(`${username} left`)
    })
    channel.on('$joined', ({ outcome }) => {
      // Said openly: there are no messages from the time without a connection, unless the server could give them again.
      if (this.#wasJoined && outcome.kind !== 'recovered') {
        this.#messages.note('You were disconnected. What others wrote meanwhile is not shown here.')
      }
      this.#wasJoined = true
    })
    channel.on('$state', () => this.#showAccess())
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
