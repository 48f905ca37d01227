import type { Limits, Times } from '../options.ts'
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
    // Both are base64url, in which JSON escapes nothing.
    const own = `"session":"${session}","connection":"${id}","resumed":${resumed}`
    connection.sendEncoded(encodeText(`{"cmd":"$welcome","param":{${own}${this.#shared}`), 1)
  }
}
