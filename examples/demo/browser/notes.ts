import { byId, element, find, setText, timeOf } from './dom.ts'

/** As many are shown; older ones make room. */
const MAX_NOTES = 50

export interface Note {
  readonly title: string
  readonly message: string
  readonly timestamp: string | number
}

/** Puts a notification on top of a list. */
export function addNote(list: HTMLElement, { title, message, timestamp }: Note): void {
  const text = message === '' ? [] : [element('p', '', message)]
  list.prepend(element('li', '', element('div', 'note-head', element('strong', '', title), timeOf(timestamp)), ...text))
  while (list.children.length > MAX_NOTES) list.lastElementChild!.remove()
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
