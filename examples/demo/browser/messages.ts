import { element, find, timeOf } from './dom.ts'

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

/** What was said in a room. */
export class Messages {
  readonly #log: HTMLElement
  readonly #list: HTMLElement
  readonly #userId: string
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

  /** Adds a message; returns where its state may be shown. */
  said({ user_id, username, text, timestamp }: ChatMessage): HTMLElement {
    const own = user_id === this.#userId
    const state = element('span', 'sent')
    const head = element('p', 'by', element('span', 'author', own ? 'You' : username), timeOf(timestamp), state)
    const item = element('li', own ? 'message own' : 'message', head, element('p', 'text', text))
    // One name above several in a row; it is only hidden from the eye.
    if (this.#lastAuthor === user_id) item.classList.add('follows')
    this.#add(item)
    this.#lastAuthor = user_id
    return state
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
