import { ChannelError } from './errors.ts'

/** Where a socket is. Only `closed` is final, and only until `connect()` is called. */
export type SocketState =
  /** Not dialled yet. */
  | { readonly name: 'idle' }
  /** Dialling, or waiting for the server's `$welcome`; `attempt` counts from 0 since the last useful connection. */
  | { readonly name: 'connecting'; readonly attempt: number }
  | { readonly name: 'connected'; readonly session: string; readonly connection: string }
  /** Lost, will dial again: attempt `attempt`, in `retryInMs` milliseconds. */
  | {
      readonly name: 'waiting'
      readonly attempt: number
      readonly retryInMs: number
      readonly code: number
      readonly reason: string
    }
  /** Closed, will not; `status` is the HTTP status of a refused handshake where it is known. */
  | { readonly name: 'closed'; readonly code: number; readonly reason: string; readonly status?: number | undefined }

export type StateName = SocketState['name']

/** Every legal move. `connecting` follows itself where `reconnect()` gives up one dial for another. */
const MOVES: Readonly<Record<StateName, string>> = {
  idle: 'connecting closed',
  connecting: 'connecting connected waiting closed',
  connected: 'waiting closed',
  waiting: 'connecting closed',
  closed: 'connecting'
}

/**
 * The next state.
 * @throws {ChannelError} `internal` where the table has no such move
 */
export function move(from: SocketState, to: SocketState): SocketState {
  if (!MOVES[from.name].includes(to.name)) throw new ChannelError('internal', { cmd: `${from.name} → ${to.name}` })
  return to
}
