/** What `fastify-channels-native` does, or whatever else does the same. */
export interface NativeSender {
  /** How it does it: `io_uring`, or `send`. */
  readonly backend: string
  /**
   * Gives the first `count` sockets as much of `data` as each takes at once. `taken` then says how many bytes that was, or
   * is negative where the system refused. True where all of them took everything.
   */
  send(fds: Int32Array, count: number, data: Uint8Array, taken: Int32Array): boolean
}

/** A link that native writes may go to. */
export interface NativeTarget {
  /** Bytes that were taken for it and are still to be written. */
  deferred: number
  /** Its file descriptor at this moment; -1 where what is written has to go another way. */
  descriptor(): number
  /** Takes what was not written natively, which may be all; it stands first in line. */
  writeRest(rest: Uint8Array): void
  /** Nobody knows what of a write went out: the link is of no use any more. */
  destroy(): void
}

/** Sockets of one call; more go in another. */
const MAX_TARGETS = 2_048

/**
 * Collects writes of the same bytes while a turn writes its outboxes, and makes them together. Which way each goes is asked
 * right before they are made, with nobody's code in between: a descriptor that was closed may be another client's by then.
 */
export class NativeWrites {
  readonly #failed: (error: unknown) => void
  readonly #fds = new Int32Array(MAX_TARGETS)
  readonly #taken = new Int32Array(MAX_TARGETS)
  /** Null once it has thrown. */
  #sender: NativeSender | null
  #targets: NativeTarget[] = []
  #data: Uint8Array | null = null
  /** What others have to write. */
  #rests: Array<{ readonly target: NativeTarget; readonly rest: Uint8Array }> = []
  #collecting = false

  /** `failed` hears of what a sender or a target throws. A sender that has thrown is not asked again. */
  constructor(sender: NativeSender, failed: (error: unknown) => void) {
    this.#sender = sender
    this.#failed = failed
  }

  /** From now on writes may wait for `end`, which must come in the same turn. */
  begin(): void {
    this.#collecting = this.#sender !== null
  }

  end(): void {
    this.#collecting = false
    this.flush()
  }

  /** Takes a write that will be made before anything else is done with that target; false where it has to be made at once. */
  add(target: NativeTarget, data: Uint8Array): boolean {
    if (!this.#collecting) return false
    if (data !== this.#data || this.#targets.length === MAX_TARGETS) this.flush()
    this.#data = data
    this.#targets.push(target)
    target.deferred = data.byteLength
    return true
  }

  /** Makes those that wait. What others write may run anybody's code, which may come here again. */
  flush(): void {
    if (this.#data !== null) this.#send(this.#targets, this.#data)
    for (let next = this.#rests.shift(); next !== undefined; next = this.#rests.shift()) {
      try {
        next.target.writeRest(next.rest)
      } catch (error) {
        next.target.destroy()
        this.#failed(error)
      }
    }
  }

  #send(targets: NativeTarget[], data: Uint8Array): void {
    this.#targets = []
    this.#data = null
    let count = 0
    for (const target of targets) {
      const fd = this.#sender === null ? -1 : target.descriptor()
      if (fd < 0) this.#rests.push({ target, rest: data })
      else {
        this.#fds[count] = fd
        targets[count++] = target
      }
    }
    const native = targets.slice(0, count)
    for (const target of native) target.deferred = 0
    try {
      if (count === 0 || this.#sender!.send(this.#fds, count, data, this.#taken)) return
    } catch (error) {
      this.#sender = null
      this.#collecting = false
      for (const target of native) target.destroy()
      this.#failed(error)
      return
    }
    for (const [k, target] of native.entries()) {
      const rest = data.subarray(Math.max(0, this.#taken[k]!))
      if (rest.byteLength === 0) continue
      target.deferred = rest.byteLength
      this.#rests.push({ target, rest })
    }
  }
}
