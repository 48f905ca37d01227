/** The element of that id, which the page has. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T
}

/** The first element that fits, which the page has. */
export function find<T extends HTMLElement = HTMLElement>(within: ParentNode, selector: string): T {
  return within.querySelector<T>(selector)!
}

/** A new element. What others wrote goes into the page as text only, by this one way. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...content: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag)
  if (className !== '') made.className = className
  made.append(...content)
  return made
}

export function button(label: string, run: () => void): HTMLButtonElement {
  const made = element('button', 'small', label)
  made.type = 'button'
  made.addEventListener('click', run)
  return made
}

const TIME = { hour: '2-digit', minute: '2-digit' } as const
const clock = new Intl.DateTimeFormat(undefined, TIME)
const clockOfDay = new Intl.DateTimeFormat(undefined, { ...TIME, weekday: 'short' })

/** A time of day, and the day where it is not this one. */
export function timeOf(timestamp: string | number): HTMLTimeElement {
  const date = new Date(timestamp)
  const today = date.toDateString() === new Date().toDateString()
  const made = element('time', '', (today ? clock : clockOfDay).format(date))
  made.dateTime = date.toISOString()
  return made
}

/** Sets a text only where it changes: a screen reader says again what is set again. */
export function setText(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text
}

/** Has a screen reader say something when it is done with what it says now. */
export function announce(text: string): void {
  setText(byId('announcer'), text)
}
