/** Writes of the same bytes to many sockets. */
export interface NativeSender {
  /** `io_uring`, or `send` where the kernel does not allow that. */
  readonly backend: 'io_uring' | 'send'
  /**
   * Gives the first `count` sockets as much of `data` as each takes at once. `taken` then says how many bytes that was, or
   * bears a negated errno. True where all of them took everything.
   * @throws {Error} where io_uring breaks down in the middle, and nobody knows what went out
   * @throws {TypeError} for arguments of other types, and where `count` is more than one of the arrays holds or `data` is empty
   */
  send(fds: Int32Array, count: number, data: Uint8Array, taken: Int32Array): boolean
}

/** Hand it to fastify-channels as its option `native`. Null where it cannot be used. */
export const native: NativeSender | null

/** Why `native` is null; null where it is not. */
export const reason: string | null
