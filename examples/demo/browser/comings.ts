import type { RoomChannel } from './room.ts'

/**
 * Tells who came in and who left. A server that was killed could not say that anybody left: who is back after that is no
 * news.
 */
export function tellComings(channel: RoomChannel, userId: string, tell: (words: string) => void): void {
  let here: Set<string> | undefined
  channel.on('$presence', ({ members }) => {
    here ??= new Set(members?.map(({ id }) => id))
  })
  channel.on('user-joined', ({ user_id, username }) => {
    if (user_id === userId || here?.has(user_id)) return
    here?.add(user_id)
    tell(`${username} came in`)
  })
  channel.on('user-left', ({ user_id, username }) => {
    here?.delete(user_id)
    if (user_id !== userId) tell(`${username} left`)
  })
}
