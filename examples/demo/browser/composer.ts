import { find } from './dom.ts'
import type { RoomChannel } from './room.ts'
import { TypingTeller } from './typing.ts'

/** The box to write in. Enter sends; Shift and Enter begin a new line. */
export class Composer {
  readonly #box: HTMLTextAreaElement

  constructor(form: HTMLFormElement, channel: RoomChannel, title: string, send: (text: string) => void) {
    this.#box = find(form, 'textarea')
    const box = this.#box
    const typing = new TypingTeller(channel)
    const label = find<HTMLLabelElement>(form, 'label')
    box.id = label.htmlFor = `write-${channel.name}`
    label.textContent = `Write to ${title}`
    box.placeholder = `Write to ${title}`

    form.addEventListener('submit', event => {
      event.preventDefault()
      const text = box.value.trim()
      box.value = ''
      box.focus()
      typing.stopped()
      if (text !== '') send(text)
    })
    box.addEventListener('keydown', event => {
      // While a character is being composed, Enter takes it.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
      event.preventDefault()
      form.requestSubmit()
    })
    box.addEventListener('input', () => typing.typed(box.value))
    box.addEventListener('blur', () => typing.stopped())
  }

  /** Gives a text back to be changed; what is in the box stays. */
  edit(text: string): void {
    this.#box.value = [this.#box.value, text].filter(Boolean).join('\n')
    this.#box.focus()
  }
}
