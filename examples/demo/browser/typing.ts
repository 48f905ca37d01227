import { setText } from './dom.ts'
import type { RoomChannel } from './room.ts'

/** So long others believe it without hearing it again. */
const BELIEVED_MS = 6_000
/** So often it is said again while somebody types. */
const REPEAT_MS = 3_000

/** Shows who is typing. */
export function showTyping(channel: RoomChannel, line: HTMLElement, userId: string): void {
  const typing = new Map<string, { name: string; timer: number }>()
  const forget = (id: string): void => {
    clearTimeout(typing.get(id)?.timer)
    typing.delete(id)
    setText(line, sentence([...typing.values()].map(({ name }) => name)))
  }
  channel.on('typing', param => {
    forget(param.user_id)
    if (!param.typing || param.user_id === userId) return
    const timer = window.setTimeout(() => forget(param.user_id), BELIEVED_MS)
    typing.set(param.user_id, { name: param.username, timer })
    setText(line, sentence([...typing.values()].map(({ name }) => name)))
  })
  channel.on('chat-message', ({ user_id }) => forget(user_id))
  channel.on('user-left', ({ user_id }) => forget(user_id))
}

function sentence(names: readonly string[]): string {
  if (names.length === 0) return ''
  if (names.length === 1) return `${names[0]} is typing…`
  return names.length === 2 ? `${names[0]} and ${names[1]} are typing…` : 'Several people are typing…'
}

/** Tells others that we are typing; worth nothing later, so it never waits for a connection. */
export class TypingTeller {
  readonly #channel: RoomChannel
  #toldAt = Number.NEGATIVE_INFINITY

  constructor(channel: RoomChannel) {
    this.#channel = channel
  }

  typed(text: string): void {
    if (text === '') this.stopped()
    else if (performance.now() - this.#toldAt > REPEAT_MS) this.#tell(true)
  }

  stopped(): void {
    if (this.#toldAt !== Number.NEGATIVE_INFINITY) this.#tell(false)
  }

  #tell(typing: boolean): void {
    this.#toldAt = typing ? performance.now() : Number.NEGATIVE_INFINITY
    void this.#channel.send('typing', { typing }, { onOffline: 'reject', ttlMs: BELIEVED_MS })
  }
}
