import type { Clock } from './protocol/clock.ts'

const ID_BYTES = 16
const TAG_BYTES = 6
const EPOCH_BYTES = 9

/**
 * As much as many names need is fetched at once: to fetch it, and to make a Buffer of it, takes longer than to encode it.
 * Small ones would leave holes between what the connections have from the system, of 200 bytes for each.
 */
const POOL_BYTES = 4_096

interface Pool {
  bytes: Buffer
  used: number
}

const pools = new WeakMap<Clock, Pool>()

/** 128 random bits: nobody guesses one. */
export function newId(clock: Clock): string {
  return newName(clock, ID_BYTES)
}

/** 48 random bits, which no other entry at the same place of the same log has. */
export function newTag(clock: Clock): string {
  return newName(clock, TAG_BYTES)
}

export function newEpoch(clock: Clock): string {
  return newName(clock, EPOCH_BYTES)
}

function newName(clock: Clock, count: number): string {
  let pool = pools.get(clock)
  if (pool === undefined || pool.used + count > POOL_BYTES) {
    // Not a copy: that would lie in memory that all small Buffers of the process share, and tell names that are not given yet.
    const { buffer, byteOffset } = clock.randomBytes(POOL_BYTES)
    pool = { bytes: Buffer.from(buffer, byteOffset, POOL_BYTES), used: 0 }
    pools.set(clock, pool)
  }
  const from = pool.used
  pool.used += count
  return pool.bytes.toString('base64url', from, pool.used)
}
