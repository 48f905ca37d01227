import type { Position } from 'fastify-channels/client'
import { byId, element, find, setText, timeOf } from './dom.ts'
import { Places } from './places.ts'

/** As many are shown; older ones make room. */
const MAX_NOTES = 50

export interface Note {
  readonly title: string
  readonly message: string
  readonly timestamp: string | number
}

/** A list of notes, the newest on top, each of them once. */
export class Notes {
  readonly #list: HTMLElement
  readonly #empty: HTMLElement
  readonly #places = new Places()

  /** `empty` is shown until there is a note. */
  constructor(list: HTMLElement, empty: HTMLElement) {
    this.#list = list
    this.#empty = empty
  }

  /** Adds a note; returns whether it was not there yet. */
  add({ title, message, timestamp }: Note, position: Position | undefined): boolean {
    if (!this.#places.add(position)) return false
    const text = message === '' ? [] : [element('p', '', message)]
    const head = element('div', 'note-head', element('strong', '', title), timeOf(timestamp))
    this.#put(element('li', '', head, ...text))
    return true
  }

  /** Adds a line about the list itself. */
  missing(words: string): void {
    this.#put(element('li', 'missing', words))
  }

  #put(item: HTMLElement): void {
    this.#empty.hidden = true
    this.#list.prepend(item)
    while (this.#list.children.length > MAX_NOTES) this.#list.lastElementChild!.remove()
  }
}

/** Posts a form without leaving the page; what was typed stays in it where that fails. */
export function postInPlace(id: string): void {
  const form = byId<HTMLFormElement>(id)
  const outcome = find(form, '.outcome')
  const submit = find<HTMLButtonElement>(form, 'button.primary')
  form.addEventListener('input', () => setText(outcome, ''))
  form.addEventListener('submit', async event => {
    event.preventDefault()
    submit.disabled = true
    setText(outcome, '')
    const problem = await post(form)
    submit.disabled = false
    setText(outcome, problem === null ? 'Sent.' : problem)
    outcome.classList.toggle('problem', problem !== null)
    if (problem === null) form.reset()
    find(form, 'input:not([type=hidden])').focus()
  })
}

/** Why it could not be sent; null where it was. */
async function post(form: HTMLFormElement): Promise<string | null> {
  const body = new URLSearchParams(new FormData(form) as unknown as Record<string, string>)
  try {
    const { ok, status } = await fetch(form.action, { method: 'POST', body, headers: { accept: 'application/json' } })
    if (ok) return null
    return status === 401 ? 'You are signed out. Sign in again to send.' : 'The server did not take it.'
  } catch {
    return 'The server is away. Your text is still here: try again when it is back.'
  }
}
