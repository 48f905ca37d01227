import { element, find, setText } from './dom.ts'
import type { RoomChannel } from './room.ts'

/** Shows who is in a room. */
export function showMembers(channel: RoomChannel, aside: HTMLElement, userId: string): void {
  const show = (): void => {
    const { presence, members } = channel
    setText(find(aside, 'h3'), presence === null ? '' : howMany(presence.count, channel.state.name === 'joined'))
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
  channel.on('$state', show)
}

/** Without a connection it is what was told last. */
function howMany(count: number, now: boolean): string {
  if (count === 1) return now ? '1 person here' : '1 person was here'
  return now ? `${count} people here` : `${count} people were here`
}
