import { channelsError, shown } from '../errors.ts'
import type { CloseName } from '../protocol/close-code.ts'
import { closeCode, MAX_REASON_BYTES } from '../protocol/close-code.ts'

/** How a connection ended. */
export interface CloseEvent {
  readonly code: number
  /** The close frame's reason, made safe for logs; empty where there was none. */
  readonly reason: string
  /** Whether the closing handshake was completed (RFC 6455 §7.1.4), rather than the link lost. */
  readonly clean: boolean
  /** Whether a client of ours dials again after this code. */
  readonly willReturn: boolean
}

/** Closes with the code of that name. */
export function closeAs(connection: { close(code: number, reason: string): void }, name: CloseName): void {
  const { code, reason } = closeCode(name)
  connection.close(code, reason)
}

/** Codes that an endpoint may send (RFC 6455 §7.4): the rest are reserved or mean that none was sent. */
export function assertClose(code: number, reason: string): void {
  const standard = code === 1000 || code === 1001 || code === 1003 || code === 1008 || (code >= 1011 && code <= 1013)
  const own = code >= 4000 && code <= 4999
  if (!Number.isInteger(code) || !(standard || own) || Buffer.byteLength(reason) > MAX_REASON_BYTES) {
    throw channelsError('FST_CHANNELS_INVALID_CLOSE', `${shown(code)} ${shown(reason)}`)
  }
}
