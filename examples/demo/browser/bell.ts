import type { Socket } from 'fastify-channels/client'
import type { Contract } from '../channels.ts'
import { announce, byId, find, setText } from './dom.ts'
import { Notes, postInPlace } from './notes.ts'
import { loadPast } from './past.ts'

/** The bell: how many notifications are new, and below it the list and the form to send one. */
export function ringBell(socket: Socket<Contract>): void {
  const bell = byId<HTMLButtonElement>('bell')
  const panel = byId('bell-panel')
  let fresh = 0

  const count = (value: number): void => {
    fresh = value
    byId('bell-count').hidden = value === 0
    setText(byId('bell-count'), String(value))
    setText(byId('bell-label'), value === 0 ? 'Notifications' : `Notifications, ${value} new`)
  }
  const open = (wanted: boolean): void => {
    panel.hidden = !wanted
    bell.setAttribute('aria-expanded', String(wanted))
    if (wanted) count(0)
  }

  bell.addEventListener('click', () => open(panel.hidden === true))
  addEventListener('keydown', event => {
    if (event.key !== 'Escape' || panel.hidden) return
    open(false)
    bell.focus()
  })
  addEventListener('pointerdown', event => {
    if (!panel.hidden && !find(document, '.tools').contains(event.target as Node)) open(false)
  })

  const notes = new Notes(byId('bell-list'), byId('bell-empty'))
  const channel = socket.channel('notifications')
  channel.on('notification', (note, { position }) => {
    if (!notes.add(note, position)) return
    announce(`Notification: ${note.title}`)
    if (panel.hidden) count(fresh + 1)
  })
  channel.join({
    loadState: loadPast(channel, 'notification', {
      // What was there before the page rings no bell; what came since does.
      show({ param, position }, gap) {
        if (notes.add(param, position) && gap !== null && panel.hidden) count(fresh + 1)
      },
      missing: words => notes.missing(words)
    })
  })
  postInPlace('notify')
}
