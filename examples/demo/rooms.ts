/** What server and page both know of the rooms. */
export interface Room {
  readonly id: string
  readonly title: string
  readonly about: string
}

export const ROOMS: readonly Room[] = [
  { id: 'lobby', title: 'Lobby', about: 'Everybody comes by here.' },
  { id: 'help', title: 'Help', about: 'Ask, and somebody may know.' },
  { id: 'staff', title: 'Staff', about: 'For Alice and Bob.' }
]

/** Ids of those who may enter the staff's room. */
const STAFF: readonly string[] = ['alice', 'bob']

/** The one rule of the demo. It is asked at each join, also at those after a reconnect. */
export function mayEnter(userId: string, room: string): boolean {
  return ROOMS.some(({ id }) => id === room) && (room !== 'staff' || STAFF.includes(userId))
}
