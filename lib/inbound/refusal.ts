import type { Frame } from '../protocol/message.ts'
import type { NackCode } from '../protocol/system.ts'
import { NACK_CODES, systemFrame } from '../protocol/system.ts'

/** Why a frame is answered with a nack; its message is for the peer to read. */
export class Refusal extends Error {
  readonly code: NackCode
  readonly retryAfterMs: number | undefined
  /** Of `resend-from`: the id to begin again with. */
  readonly from: number | undefined

  constructor(code: NackCode, message: string = NACK_CODES[code].meaning, retryAfterMs?: number, from?: number) {
    super(message)
    this.code = code
    this.retryAfterMs = retryAfterMs
    this.from = from
  }

  get retry(): boolean {
    return NACK_CODES[this.code].retry
  }
}

/** A refusal in the words of the protocol. */
export function nackFrame(refusal: Refusal, at: Pick<Frame, 'channel' | 'id' | 'ref'>): Frame {
  const { code, message, retry, retryAfterMs, from } = refusal
  const param = {
    code,
    message,
    retry,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs: Math.ceil(retryAfterMs) }),
    ...(from === undefined ? {} : { from })
  }
  return systemFrame('$nack', param, at)
}

/** Begin again with this id. */
export function resendFrom(id: number): Refusal {
  return new Refusal('resend-from', `The next id is ${id}.`, undefined, id)
}

const BY_STATUS: Readonly<Record<number, NackCode>> = {
  400: 'bad-request',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not-found'
}

/** What application code threw, as a refusal; null where it is a failure, of which a stranger must not read more. */
export function refusalOf(error: unknown): Refusal | null {
  if (error instanceof Refusal) return error
  try {
    const { code: ours, statusCode, message } = error as { code?: unknown; statusCode?: unknown; message?: unknown }
    if (ours === 'FST_CHANNELS_STORE_FAILED') return new Refusal('unavailable')
    const code = typeof statusCode === 'number' ? BY_STATUS[statusCode] : undefined
    return code === undefined ? null : new Refusal(code, String(message))
  } catch {
    // What was thrown may be anything, null and objects with getters of their own included.
    return null
  }
}
