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
  /** Its file descriptor at this moment; -1 where what is written has to go another way. */
  descriptor(): number
  /** Takes what was not written natively, which may be all; it stands first in line. */
  writeRest(rest: Uint8Array): void
}

/** Sockets of one call; more go in another. */
const MAX_TARGETS = 2_048

/**
 * Collects writes of the same bytes while a turn writes its outboxes, and makes them together. Which way each goes is asked
 * right before they are made, with nobody's code in between: a descriptor that was closed may be another client's by then.
 */
export class NativeWrites {
  readonly #sender: NativeSender
  readonly #fds = new Int32Array(MAX_TARGETS)
  readonly #taken = new Int32Array(MAX_TARGETS)
  #targets: NativeTarget[] = []
  #data: Uint8Array | null = null
  #collecting = false

  constructor(sender: NativeSender) {
    this.#sender = sender
  }

  /** From now on writes may wait for `end`, which must come in the same turn. */
  begin(): void {
    this.#collecting = true
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
    return true
  }

  /** Makes those that wait. */
  flush(): void {
    const data = this.#data
    if (data === null) return
    const targets = this.#targets
    this.#targets = []
    this.#data = null
    let count = 0
    for (const target of targets) {
      const fd = target.descriptor()
      if (fd < 0) target.writeRest(data)
      else {
        this.#fds[count] = fd
        targets[count++] = target
      }
    }
    if (count === 0 || this.#sender.send(this.#fds, count, data, this.#taken)) return
    for (let k = 0; k < count; k++) {
      const taken = Math.max(0, this.#taken[k]!)
      if (taken < data.byteLength) targets[k]!.writeRest(data.subarray(taken))
    }
  }
}
