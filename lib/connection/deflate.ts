import { constants, deflateRawSync } from 'node:zlib'
import { AgedMap } from '../aged-map.ts'
import type { Clock } from '../protocol/clock.ts'
import { encodeCompressed, payloadAt } from './frame.ts'

/** Smaller messages gain less than they cost. */
export const DEFLATE_BYTES = 1_024

/** Batches of one turn that are remembered, the latest: a member of many channels is sent as many at once. */
const MAX_REMEMBERED = 1_024
/** The empty block with which a flush ends; the receiver adds it again (RFC 7692 §7.2.1). */
const TAIL_BYTES = 4

/**
 * Compresses frames for those clients that have agreed on permessage-deflate (RFC 7692). Neither side keeps a context from
 * one message to the next: so what many are sent in a turn is compressed once, and a connection needs no window of its own.
 */
export class Deflater {
  readonly #clock: Clock
  readonly #done = new AgedMap<Uint8Array, Uint8Array>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The same frames, the large ones compressed. */
  frames(batch: Uint8Array): Uint8Array {
    const known = this.#done.get(batch)
    if (known !== undefined) return known
    const frames = deflated(batch)
    if (this.#done.size === 0) this.#clock.soon(() => this.#done.clear())
    if (this.#done.size >= MAX_REMEMBERED) this.#done.delete(this.#done.oldest!.key)
    this.#done.set(batch, frames)
    return frames
  }
}

function deflated(batch: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = []
  let changed = false
  for (let at = 0; at < batch.byteLength; ) {
    const { start, end } = payloadAt(batch, at)
    const isLarge = end - start >= DEFLATE_BYTES
    parts.push(isLarge ? encodeCompressed(pack(batch.subarray(start, end))) : batch.subarray(at, end))
    changed ||= isLarge
    at = end
  }
  return changed ? Buffer.concat(parts) : batch
}

/** UTF-8 as long as that gets smaller in any case. */
function pack(payload: Uint8Array): Uint8Array {
  const flushed = deflateRawSync(payload, { finishFlush: constants.Z_SYNC_FLUSH })
  return flushed.subarray(0, flushed.byteLength - TAIL_BYTES)
}
