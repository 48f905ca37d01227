import type { Position } from 'fastify-channels/client'
import { element, find, timeOf } from './dom.ts'
import { Places } from './places.ts'

/** As many are kept in the page; older ones make room. */
const MAX_MESSAGES = 500
/** How far from the end, in pixels, still counts as at the end. */
const NEAR_END = 60

export interface ChatMessage {
  readonly user_id: string
  readonly username: string
  readonly text: string
  readonly timestamp: string | number
}

/** What was said in a room, each message once. */
export class Messages {
  readonly #log: HTMLElement
  readonly #list: HTMLElement
  readonly #userId: string
  readonly #places = new Places()
  #lastAuthor = ''
  #atEnd = true

  constructor(log: HTMLElement, userId: string) {
    this.#log = log
    this.#list = find(log, 'ol')
    this.#userId = userId
    // Who reads the last messages goes on seeing them; who reads further up is left there.
    log.addEventListener('scroll', () => {
      this.#atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END
    })
    new ResizeObserver(() => {
      if (this.#atEnd) this.scrollToEnd()
    }).observe(log)
  }

  /** Adds a message; returns whether it was not there yet. */
  said({ user_id, username, text, timestamp }: ChatMessage, position: Position | undefined): boolean {
    if (!this.#places.add(position)) return false
    const own = user_id === this.#userId
    const head = element('p', 'by', element('span', 'author', own ? 'You' : username), timeOf(timestamp))
    // It comes from the server's log, wherever it was written.
    if (own) head.append(element('span', 'sent', 'Sent'))
    const item = element('li', own ? 'message own' : 'message', head, element('p', 'text', text))
    // One name above several in a row; it is only hidden from the eye.
    if (this.#lastAuthor === user_id) item.classList.add('follows')
    this.#add(item)
    this.#lastAuthor = user_id
    return true
  }

  /** Adds a line that says what is missing here. */
  missing(words: string): void {
    this.#add(element('li', 'room-note missing', words))
    this.#lastAuthor = ''
  }

  /** Whether the message of that place is shown. */
  has(position: Position): boolean {
    return this.#places.has(position)
  }

  /** Adds a line about the room itself. */
  note(text: string): void {
    this.#add(element('li', 'room-note', text))
    this.#lastAuthor = ''
  }

  scrollToEnd(): void {
    this.#log.scrollTop = this.#log.scrollHeight
  }

  #add(item: HTMLElement): void {
    this.#list.append(item)
    while (this.#list.children.length > MAX_MESSAGES) this.#list.firstElementChild!.remove()
    if (this.#atEnd || item.classList.contains('own')) this.scrollToEnd()
  }
}
