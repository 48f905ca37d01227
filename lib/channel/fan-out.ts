import type { Connection, ConnectionKind } from '../connection/connection.ts'
import type { Origin, Outbox } from '../connection/outbox.ts'
import type { Batch, Turn } from '../connection/turn.ts'
import type { Subscription } from './subscription.ts'

/** A list of up to so many has no room to spare: most channels stay as small, and one that is pushed to has room for 17. */
const FEW = 8
/** A batch larger than this leaves before its turn ends, because the slowest reader keeps it alive. */
const EARLY_BATCH_BYTES = 64 * 1024

/** Who of a channel's members gets a frame; all of them where neither stands. */
export interface Audience {
  readonly kind?: ConnectionKind
  readonly except?: ReadonlySet<Connection>
  readonly only?: ReadonlySet<Connection>
}

/** The channel that it is the fan-out of. */
export interface FanOutOwner {
  readonly origin: Origin
  /** Called at the end of a turn in which the fan-out was touched; may publish once more. */
  beforeBatch(): void
}

interface Entry extends Audience {
  readonly frame: Uint8Array
}

/** A frame for one member that must not overtake what was published before it. */
interface Reply {
  readonly connection: Connection
  readonly frame: Uint8Array
  readonly origin: Origin | null
}

/** A batch that is being written, and how far it has come. */
interface Walk {
  readonly batch: Uint8Array
  readonly messages: number
  next: number
}

/**
 * One channel's publications of one turn. Each was encoded once; at the turn's end they become one buffer that every
 * member shares, so that a burst costs each socket one write.
 */
export class FanOut implements Batch {
  readonly #owner: FanOutOwner
  readonly #turn: Turn
  /** The owner's. */
  readonly #origin: Origin
  /** Dense, so that a walk is one over an array; a member knows its place, so that leaving moves one other. */
  #members: Subscription[] = []
  /** The members' own, in the same order: on the way to them over the members a cache line or four would be read for each. */
  #outboxes: Outbox[] = []
  /** What was put into outboxes so far. */
  messagesOut = 0
  bytesOut = 0
  /** Null where there are none: an array that is kept from turn to turn grows old, and what was in it is then kept as well. */
  #entries: Entry[] | null = null
  #replies: Reply[] | null = null
  #walk: Walk | null = null
  #bytes = 0
  #plain = true
  #listed = false
  #touched = false

  constructor(owner: FanOutOwner, turn: Turn) {
    this.#owner = owner
    this.#turn = turn
    this.#origin = owner.origin
  }

  get members(): readonly Subscription[] {
    return this.#members
  }

  /** One more member, the last of them. What was published before is not for it. */
  admit(subscription: Subscription): void {
    this.flush()
    subscription.index = this.#members.length
    this.#members = appended(this.#members, subscription)
    this.#outboxes = appended(this.#outboxes, subscription.connection.outbox)
  }

  /** A member no more; the last one takes its place. What was published before is for it still. */
  dismiss({ index }: Subscription): void {
    this.flush()
    const moved = this.#members.pop()!
    const outbox = this.#outboxes.pop()!
    if (index === this.#members.length) return
    this.#members[index] = moved
    moved.index = index
    this.#outboxes[index] = outbox
  }

  publish(frame: Uint8Array, audience?: Audience): void {
    this.add(frame, audience)
    if (this.#bytes < EARLY_BATCH_BYTES) return
    this.flush()
    this.#turn.write()
  }

  /** As `publish`, and nothing comes between it and what is published next: writing may close a peer, whose hooks publish. */
  add(frame: Uint8Array, audience?: Audience): void {
    const entry: Entry = audience === undefined ? { frame } : { ...audience, frame }
    if (this.#entries === null) this.#entries = [entry]
    else this.#entries.push(entry)
    if (audience !== undefined) this.#plain = false
    this.#bytes += frame.byteLength
    this.#list()
  }

  /** Sends a frame to one member after everything published so far. */
  reply(connection: Connection, frame: Uint8Array, origin: Origin | null): void {
    this.#finish()
    if (this.#entries === null) connection.sendEncoded(frame, 1, origin)
    else if (this.#replies === null) this.#replies = [{ connection, frame, origin }]
    else this.#replies.push({ connection, frame, origin })
  }

  /** Sees to it that the owner's `beforeBatch` is called at the turn's end. */
  touch(): void {
    this.#touched = true
    this.#list()
  }

  #list(): void {
    if (this.#listed) return
    this.#listed = true
    this.#turn.addBatch(this)
  }

  distribute(writes: number): void {
    this.#listed = false
    if (this.#touched) {
      this.#touched = false
      this.#owner.beforeBatch()
    }
    this.#flush(writes)
  }

  /** Puts what was published so far into the members' outboxes. */
  flush(): void {
    this.#flush(0)
  }

  #flush(writes: number): void {
    this.#finish()
    const entries = this.#entries
    if (entries === null) return
    const replies = this.#replies
    const plain = this.#plain
    this.#entries = null
    this.#replies = null
    this.#bytes = 0
    this.#plain = true
    try {
      if (!plain) this.#shareByAudience(entries)
      else if (this.#outboxes.length > writes) this.#share(entries)
      else this.#write(entries, replies)
    } finally {
      for (const { connection, frame, origin } of replies ?? []) connection.sendEncoded(frame, 1, origin)
    }
  }

  #share(entries: readonly Entry[]): void {
    const batch = join(entries)
    const outboxes = this.#outboxes
    for (let i = 0; i < outboxes.length; i++) outboxes[i]!.push(batch, entries.length, this.#origin)
    this.#count(entries.length, batch)
  }

  /** As `#share`, and in one walk: until it came to them a second time, the first of a thousand would have left the caches. */
  #write(entries: readonly Entry[], replies: readonly Reply[] | null): void {
    const batch = join(entries)
    const frames = [batch] as const
    const outboxes = this.#outboxes
    // What they are still to get goes with it.
    const waiting = replies === null ? null : new Set(replies.map(({ connection }) => connection.outbox))
    this.#count(entries.length, batch)
    const walk = { batch, messages: entries.length, next: 0 }
    this.#walk = walk
    try {
      while (this.#walk === walk && walk.next < outboxes.length) {
        const outbox = outboxes[walk.next++]!
        if (waiting?.has(outbox) === true) outbox.push(batch, entries.length, this.#origin)
        else outbox.write(frames, entries.length, this.#origin)
      }
    } finally {
      this.#finish()
    }
  }

  /** Puts what a walk has not come to into outboxes: where a write has thrown, or called somebody after all. */
  #finish(): void {
    const walk = this.#walk
    if (walk === null) return
    this.#walk = null
    const outboxes = this.#outboxes
    while (walk.next < outboxes.length) outboxes[walk.next++]!.push(walk.batch, walk.messages, this.#origin)
  }

  #count(messages: number, { byteLength }: Uint8Array, members = this.#outboxes.length): void {
    this.messagesOut += messages * members
    this.bytesOut += byteLength * members
  }

  /** Members of whom no entry makes an exception still share one buffer per kind of client. */
  #shareByAudience(entries: readonly Entry[]): void {
    const particular = new Set<Connection>()
    for (const { except, only } of entries) {
      for (const connection of except ?? []) particular.add(connection)
      for (const connection of only ?? []) particular.add(connection)
    }
    const shared = new Map<ConnectionKind, { batch: Uint8Array; count: number }>()
    for (const { connection } of this.#members) {
      let share = particular.has(connection) ? undefined : shared.get(connection.kind)
      if (share === undefined) {
        const own = entries.filter(entry => isFor(connection, entry))
        share = { batch: join(own), count: own.length }
        if (!particular.has(connection)) shared.set(connection.kind, share)
      }
      if (share.count === 0) continue
      connection.sendEncoded(share.batch, share.count, this.#origin)
      this.#count(share.count, share.batch, 1)
    }
  }
}

function isFor(connection: Connection, { kind = connection.kind, except, only }: Entry): boolean {
  return kind === connection.kind && except?.has(connection) !== true && only?.has(connection) !== false
}

function join(entries: readonly Entry[]): Uint8Array {
  return entries.length === 1 ? entries[0]!.frame : Buffer.concat(entries.map(entry => entry.frame))
}

function appended<T extends object>(list: T[], item: T): T[] {
  if (list.length < FEW) return list.concat(item)
  list.push(item)
  return list
}
