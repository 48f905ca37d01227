import type { Timer } from '../lib/protocol/clock.ts'
import type { ClientClock } from './clock.ts'
import type { Settings } from './options.ts'
import type { WebSocketLike } from './transport.ts'

/** What a link tells its owner. After `end`, or once it was dropped, it tells nothing more. */
export interface LinkEvents {
  open(): void
  data(data: unknown): void
  end(code: number, reason: string): void
}

/** A timer later than this was held up: the process or the machine stood still. */
const LATE_MS = 250
const OPEN = 1
const ignore = (): void => {}

/** One WebSocket, from its dial to its death. */
export class Link {
  #ws: WebSocketLike
  #clock: ClientClock
  #events: LinkEvents
  #seen = 0
  #watch: Timer | undefined

  /** @throws whatever the WebSocket class throws */
  constructor({ WebSocket, clock }: Settings, url: string, protocols: string[], events: LinkEvents) {
    this.#clock = clock
    this.#events = events
    const ws = new WebSocket!(url, protocols)
    this.#ws = ws
    ws.onopen = () => events.open()
    ws.onmessage = ({ data }) => {
      this.#seen = clock.monotonic()
      events.data(data)
    }
    ws.onclose = ({ code, reason }) => {
      this.#detach()
      events.end(code, reason)
    }
    // What an error event tells, the close event after it tells as well. `ws` throws where nobody listens.
    ws.onerror = ignore
  }

  /** Sends, unless the link is closing: what is given to a closing WebSocket is lost in silence. */
  send(text: string): boolean {
    if (this.#ws.readyState !== OPEN) return false
    this.#ws.send(text)
    return true
  }

  /** Ends the link from now on if nothing comes for `limitMs`; a clock that ran late gets `slackMs` more, once. */
  watch(limitMs: number, slackMs: number): void {
    let graced = false
    const check = (delayMs: number): void => {
      const due = this.#clock.monotonic() + delayMs
      this.#watch = this.#clock.after(delayMs, () => {
        const now = this.#clock.monotonic()
        const leftMs = this.#seen + limitMs - now
        // After a standstill what came meanwhile has not been read yet, and timers run first.
        const grace = !graced && now - due > LATE_MS
        graced = leftMs <= 0 && grace
        if (leftMs > 0) check(leftMs)
        else if (grace) check(slackMs)
        else {
          this.drop(4001, 'silent')
          this.#events.end(4001, 'silent')
        }
      })
    }
    check(limitMs)
  }

  /** Closes without waiting for the other side; whatever comes late is nobody's any more. */
  drop(code: number, reason: string): void {
    this.#detach()
    this.#ws.close(code, reason)
  }

  #detach(): void {
    this.#watch?.cancel()
    const ws = this.#ws
    ws.onopen = ws.onmessage = ws.onclose = ws.onerror = ignore
  }
}
