import type { Position } from '../protocol/position.ts'
import { isPosition } from '../protocol/position.ts'

/** The subprotocol that bears what a client comes back with begins so; the rest is base64url of JSON. */
export const RESUME_PREFIX = 'resume.'

/** The longest such subprotocol. */
export const MAX_RESUME_CHARACTERS = 2_048

const MAX_JOINED = 1_024

const SESSION = /^[A-Za-z0-9_-]{22}$/

/** What a client comes back with: its session, and where it stands in which channels. */
export class Resume {
  /** Null where it only knows positions. */
  readonly session: string | null
  /** How often it has dialled in this session; the highest one has the session. */
  readonly dial: number
  /** There was no room for all of its positions. */
  readonly more: boolean
  readonly #positions: Map<string, Position>
  readonly #joined = new Set<string>()

  constructor(session: string | null, dial: number, positions: Map<string, Position>, more: boolean) {
    this.session = session
    this.dial = dial
    this.more = more
    this.#positions = positions
  }

  /** The position in a channel that was not joined since. */
  position(channel: string): Position | null {
    return this.#positions.get(channel) ?? null
  }

  /** As `position`; a channel that is not listed may be one of those that there was no room for. */
  positionOrLimit(channel: string): Position | 'over-limit' | null {
    const unknown = this.more && !this.#joined.has(channel)
    return this.position(channel) ?? (unknown ? 'over-limit' : null)
  }

  /** From now on what it came with says nothing of that channel any more. */
  joined(channel: string): void {
    this.#positions.delete(channel)
    // Beyond the bound, which joining one after another would reach, a gap is told that there may not be.
    if (this.more && this.#joined.size < MAX_JOINED) this.#joined.add(channel)
  }
}

/** Reads an offered subprotocol that begins with RESUME_PREFIX; null where it is malformed. */
export function parseResume(offered: string): Resume | null {
  if (offered.length > MAX_RESUME_CHARACTERS) return null
  try {
    const value: unknown = JSON.parse(Buffer.from(offered.slice(RESUME_PREFIX.length), 'base64url').toString())
    return resumeOf(value as Record<string, unknown>)
  } catch {
    return null
  }
}

function resumeOf({ s = null, n, p, more = false }: Record<string, unknown>): Resume | null {
  const fits =
    (s === null || (typeof s === 'string' && SESSION.test(s))) && Number.isSafeInteger(n) && (n as number) >= 0
  if (!fits || typeof more !== 'boolean' || typeof p !== 'object' || p === null || Array.isArray(p)) return null
  const positions = new Map<string, Position>()
  for (const [channel, place] of Object.entries(p)) {
    const [epoch, offset, tag] = Array.isArray(place) ? place : []
    const position = { epoch, offset, tag }
    if (!isPosition(position)) return null
    positions.set(channel, position)
  }
  return new Resume(s as string | null, n as number, positions, more)
}
