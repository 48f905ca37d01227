import { find } from './dom.ts'

/** One of the places of the page; the address after `#` tells which is shown. */
export interface View {
  readonly id: string
  readonly title: string
  readonly element: HTMLElement
  /** It is in view now. */
  show(): void
}

/** Shows one view at a time, and counts what is new in the others. */
export class Views {
  readonly #views: ReadonlyMap<string, View>
  #current: View
  #unread = new Map<string, number>()

  constructor(views: readonly View[]) {
    this.#views = new Map(views.map(view => [view.id, view]))
    this.#current = this.#asked() ?? views[0]!
    addEventListener('hashchange', () => this.#go())
    this.#open(this.#current)
  }

  /** Something is new in a view. */
  news(id: string): void {
    if (id !== this.#current.id) this.#setUnread(id, (this.#unread.get(id) ?? 0) + 1)
  }

  #asked(): View | undefined {
    return this.#views.get(location.hash.slice(1))
  }

  #go(): void {
    const view = this.#asked()
    // The skip link has an address too.
    if (view === undefined || view === this.#current) return
    this.#open(view)
    find(view.element, 'h2').focus()
  }

  #open(view: View): void {
    this.#current = view
    for (const { element } of this.#views.values()) element.hidden = element !== view.element
    for (const link of document.querySelectorAll<HTMLElement>('nav a')) {
      if (link.dataset.view === view.id) link.setAttribute('aria-current', 'page')
      else link.removeAttribute('aria-current')
    }
    document.title = `${view.title} · fastify-channels demo`
    this.#setUnread(view.id, 0)
    view.show()
  }

  #setUnread(id: string, count: number): void {
    this.#unread.set(id, count)
    const badge = find(document, `nav [data-view="${id}"] .badge`)
    badge.hidden = count === 0
    badge.textContent = String(count)
    badge.append(Object.assign(document.createElement('span'), { className: 'visually-hidden', textContent: ' new' }))
  }
}
