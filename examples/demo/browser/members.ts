import { element, find, setText } from './dom.ts'
import type { RoomChannel } from './room.ts'

/** Shows who is in a room. */
export function showMembers(channel: RoomChannel, aside: HTMLElement, userId: string): void {
  const show = (): void => {
    const { presence, members } = channel
    const count = presence?.count ?? 0
    setText(find(aside, 'h3'), count === 1 ? '1 person here' : `${count} people here`)
    const named = members.map(({ id, info }) => ({ id, name: info?.name ?? id }))
    named.sort((a, b) => Number(b.id === userId) - Number(a.id === userId) || a.name.localeCompare(b.name))
    find(aside, 'ul').replaceChildren(
      ...named.map(({ id, name }) => {
        const initial = element('span', 'initial', [...name][0]!.toUpperCase())
        initial.setAttribute('aria-hidden', 'true')
        return element('li', '', initial, element('span', '', id === userId ? `${name} (you)` : name))
      })
    )
  }
  channel.on('$presence', show)
}
