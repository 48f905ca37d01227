import type { Clock } from './protocol/clock.ts'

const ID_BYTES = 16
const TAG_BYTES = 6
const EPOCH_BYTES = 9

/** 128 random bits: nobody guesses one. */
export function newId(clock: Clock): string {
  return base64url(clock.randomBytes(ID_BYTES))
}

/** 48 random bits, which no other entry at the same place of the same log has. */
export function newTag(clock: Clock): string {
  return base64url(clock.randomBytes(TAG_BYTES))
}

export function newEpoch(clock: Clock): string {
  return base64url(clock.randomBytes(EPOCH_BYTES))
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url')
}
