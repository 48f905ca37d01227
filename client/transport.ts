import { invalidOption } from './errors.ts'

/** The part of a WebSocket that the client uses: the browser's, Node's and `ws`' all have it. */
export interface WebSocketLike {
  /** 1 is open. */
  readonly readyState: number
  onopen: ((event: any) => void) | null
  onmessage: ((event: any) => void) | null
  onclose: ((event: any) => void) | null
  onerror: ((event: any) => void) | null
  send(text: string): void
  close(code?: number, reason?: string): void
}

export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike

/** The part of `fetch` that asks why a handshake was refused. */
export type FetchLike = (url: string, init: FetchInit) => Promise<FetchResponse>

interface FetchInit {
  readonly credentials: 'same-origin'
  readonly redirect: 'manual'
  readonly cache: 'no-store'
  readonly signal: AbortSignal
}

interface FetchResponse {
  readonly status: number
  readonly headers: { get(name: string): string | null }
}

interface Listenable {
  addEventListener?(event: string, listener: () => void): void
  removeEventListener?(event: string, listener: () => void): void
}

/** What a page has, a worker has in part, and Node has hardly any of. */
export interface Environment extends Listenable {
  readonly WebSocket?: WebSocketConstructor
  readonly fetch?: FetchLike
  readonly location?: { readonly href: string; readonly host: string }
  readonly document?: Listenable
}

export const environment = globalThis as unknown as Environment

/**
 * The URL to dial: relative ones against the page's, http(s) as ws(s), no fragment.
 * @throws {ChannelError} `invalid-option` where it is no URL, or not one of ws, wss, http and https
 */
export function resolveUrl(source: string | URL): URL {
  try {
    const url = new URL(source, environment.location?.href)
    url.protocol = url.protocol.replace('http', 'ws')
    url.hash = ''
    if (url.protocol.startsWith('ws')) return url
  } catch {
    // Said below.
  }
  return invalidOption('url', 'a WebSocket URL', source)
}
