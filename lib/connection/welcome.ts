import type { Limits, Times } from '../options.ts'
import { encodeFrame } from '../protocol/message.ts'
import type { ServerFrames } from '../protocol/system.ts'
import type { Connection } from './connection.ts'
import { encodeText } from './frame.ts'

type Param = ServerFrames['$welcome']

export interface WelcomeParts {
  readonly limits: Limits
  readonly times: Times
}

/** Tells clients what they have come to; most of it is the same for all of them, and encoded once. */
export class Welcome {
  readonly #shared: string

  constructor({ limits, times }: WelcomeParts, contract: string) {
    const { payloadBytes, depth, channels, messagesPerSecond, burst, history } = limits
    const shared: Omit<Param, 'session' | 'connection' | 'resumed'> = {
      heartbeatMs: times.heartbeatMs,
      limits: { payloadBytes, depth, channels, messagesPerSecond, burst, history },
      contract
    }
    // Behind what is each one's own.
    this.#shared = `,${JSON.stringify(shared).slice(1)}}`
  }

  /** A plain client would not understand. */
  tell(connection: Connection): void {
    const { kind, session, id, resumed } = connection
    if (kind === 'plain') return
    const own: Pick<Param, 'session' | 'connection' | 'resumed'> = { session, connection: id, resumed }
    const text = encodeFrame({ cmd: '$welcome', param: own })
    connection.sendEncoded(encodeText(text.slice(0, -2) + this.#shared), 1)
  }
}
