import type { CloseName } from '../protocol/close-code.ts'

/** How frames become bytes. Server-sent events will be the second. */
export type Framing = 'websocket'

/** What a transport tells the connection above it. Each call is made outside any call that the connection makes. */
export interface Receiver {
  /** One text message, whole and valid UTF-8, of so many bytes. */
  text(text: string, bytes: number): void
  binary(): void
  /** A protocol-level ping or pong: it counts as a sign of life and against the rate. */
  control(): void
  /** The peer broke the protocol's framing; the transport has begun to close with the code of that name. */
  violated(name: CloseName): void
  /** The link is gone; called once, and nothing after it. */
  closed(code: number, reason: string): void
}

/**
 * One peer's byte stream. The whole of the server above it works on this interface, so that a test can put a simulated
 * network in its place.
 */
export interface Transport {
  readonly framing: Framing
  /** Whether `write` calls nobody, so that whoever walks over many may write to each. */
  readonly quiet: boolean
  /** Begins delivery to the receiver; until then the peer is not read. A link that died before is reported at once. */
  start(receiver: Receiver): void
  /** Hands complete, encoded frames to the network in one write. After `end` or `destroy` it does nothing. */
  write(frames: readonly Uint8Array[]): void
  /** Bytes taken and not yet handed to the operating system. */
  buffered(): number
  /** Calls `task` once what was written so far has been handed to the operating system, or the link is gone. */
  whenDrained(task: () => void): void
  /** Bytes received so far, of whatever kind: any byte is a sign of life. */
  received(): number
  /** Stops and resumes reading, so that the peer feels the pressure. */
  pause(): void
  resume(): void
  /** Closes in order: what was written goes out first, then the close. */
  end(code: number, reason: string): void
  /** Drops the link at once. */
  destroy(): void
}
