import type { Settings } from './options.ts'
import { retryAfterMs } from './reconnect.ts'
import { environment } from './transport.ts'

/** Dialling again would be answered the same way. */
export const FINAL: readonly number[] = [400, 401, 403, 404]

/** Whether to ask about this URL at all: elsewhere than at our own origin the answer could not be read. */
export function mayProbe(url: URL, probe: Settings['probe']): boolean {
  return probe === 'same-origin' ? environment.location?.host === url.host : probe
}

/**
 * A browser shows a refused handshake as 1006 whatever its status, so the same URL is asked by plain GET. Whatever goes
 * wrong with that means no more than that the server cannot be reached now: status 0. Beside the status stand the
 * milliseconds that the server asks to wait, 0 where it does not ask.
 */
export async function askWhy(url: URL, settings: Settings): Promise<[status: number, serverMs: number]> {
  const { clock, connectTimeoutMs, fetch } = settings
  const controller = new AbortController()
  const timer = clock.after(connectTimeoutMs, () => controller.abort())
  const ask = async (): Promise<[number, number]> => {
    const { status, headers } = await fetch!(url.href.replace('ws', 'http'), {
      credentials: 'same-origin',
      redirect: 'manual',
      cache: 'no-store',
      signal: controller.signal
    })
    const busy = status === 429 || status === 503
    return [status, busy ? retryAfterMs(headers.get('retry-after'), clock.wall()) : 0]
  }
  const answer = await ask().catch((): [number, number] => [0, 0])
  timer.cancel()
  // The status was all that was wanted: a body that still comes is let go.
  controller.abort()
  return answer
}
