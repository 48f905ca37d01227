import type { Awaitable } from '../awaitable.ts'
import { chain } from '../awaitable.ts'
import type { Broker, CommandRecord, Committed, LogPolicy, Publication } from '../broker/broker.ts'
import { positionOf } from '../broker/broker.ts'
import { encodeText } from '../connection/frame.ts'
import type { OutgoingMessage } from '../connection/publication.ts'
import { assertChannelName, messageText } from '../connection/publication.ts'
import { storeFailed } from '../errors.ts'
import type { Position } from '../protocol/position.ts'
import type { Audience } from './fan-out.ts'
import type { Channels } from './registry.ts'

/** What is asked of messages before they go out. */
export interface Publishing {
  /** Largest message, in bytes of its encoded frame. */
  readonly messageBytes: number
  /** Whether events are held against the contract. */
  readonly checkEvents: boolean
  /** What is kept nowhere was left out, as too much waits for the store. */
  readonly dropped: () => void
}

/** A message that may go out: all that could be wrong with it is behind it. */
export interface Prepared {
  readonly channel: string
  readonly text: string
  /** Null where it is not kept. */
  readonly log: LogPolicy | null
}

/** The way of a message to a channel's members: at once, or by way of the channel's log. */
export class Publisher {
  readonly #channels: Channels
  readonly #broker: Broker
  readonly #publishing: Publishing
  readonly #failed: (error: unknown) => void
  /** Of each channel that has commits under way: what is not kept goes out after those before it. */
  readonly #queues = new Map<string, CommitQueue>()

  /** `failed` hears of every publication that could not be stored. */
  constructor(channels: Channels, broker: Broker, publishing: Publishing, failed: (error: unknown) => void) {
    this.#channels = channels
    this.#broker = broker
    this.#publishing = publishing
    this.#failed = failed
  }

  /**
   * @throws FST_CHANNELS_INVALID_CHANNEL and as messageText; FST_CHANNELS_UNKNOWN_EVENT and FST_CHANNELS_INVALID_EVENT where events are checked
   */
  prepare(through: string, message: OutgoingMessage): Prepared {
    const there = this.#channels.get(through)
    // The name of a channel that is there has been looked at.
    if (there === undefined) assertChannelName(through)
    const text = messageText(through, message, this.#publishing.messageBytes)
    const carrier = (there === undefined ? this.#channels.resolve(through) : there.resolved)?.definition ?? null
    const { channel = through, cmd, param } = message
    const subject = channel === through ? carrier : (this.#channels.resolve(channel)?.definition ?? null)
    if (this.#publishing.checkEvents) subject?.assertEvent(cmd, param)
    return { channel: through, text, log: subject?.isEphemeral(cmd) === true ? null : (carrier?.log ?? null) }
  }

  /** Sends what is not kept to the members, of whom there may be none; after what is being committed on that channel. */
  send({ channel, text }: Prepared, audience?: Audience): void {
    const queue = this.#queues.get(channel)
    // It is for who is there.
    if (queue !== undefined && (this.#channels.get(channel)?.members.length ?? 0) === 0) return
    // Before it waits: a text may be a part of a much longer one, which it would keep.
    const frame = encodeText(text)
    if (queue === undefined) this.#channels.publish(channel, frame, audience)
    else if (!queue.follow(() => this.#channels.publish(channel, frame, audience), text.length)) {
      this.#publishing.dropped()
    }
  }

  /** Stores a channel's publications, and the command that they are the effect of, in one step; its feed sends them. */
  commit(channel: string, publications: readonly Publication[], command: CommandRecord | null): Awaitable<Committed> {
    try {
      const committed = this.#broker.commit({ publications, command })
      if (committed instanceof Promise) this.#track(channel, committed)
      return committed
    } catch (error) {
      this.#channels.get(channel)?.doubt()
      throw error
    }
  }

  /** Resolves once a channel's members have been sent what was committed, which may come after the answer to the commit. */
  delivered(channel: string, position: Position | null): Awaitable<void> {
    if (position !== null) return this.#channels.reach(channel, position)
  }

  /** Appends one publication to its channel's log. Rejects with FST_CHANNELS_STORE_FAILED. */
  async store(publication: Publication): Promise<{ readonly position: Position }> {
    try {
      const committed = (await this.commit(publication.channel, [publication], null)) as Committed & { kind: 'stored' }
      return { position: committed.positions[0]! }
    } catch (error) {
      this.#failed(error)
      throw storeFailed(error)
    }
  }

  #track(channel: string, committed: Promise<Committed>): void {
    const queue = this.#queues.get(channel) ?? new CommitQueue()
    this.#queues.set(channel, queue)
    const commit = queue.begin()
    const end = (): void => {
      try {
        queue.end(commit)
      } finally {
        if (queue.idle) this.#queues.delete(channel)
      }
    }
    const fail = (): void => {
      this.#channels.get(channel)?.doubt()
      end()
    }
    committed.then(result => chain(this.delivered(channel, positionOf(result)), end), fail)
  }
}

/** What may wait behind one channel's commits, which a store may leave hanging: of what is kept nowhere, and sent at most once. */
const MAX_WAITING = 1_024
const MAX_WAITING_CHARACTERS = 1_048_576

/** What waits for commits of one channel, each for those that were under way when it came. */
class CommitQueue {
  /** Numbers of the commits under way, ascending. */
  readonly #commits = new Set<number>()
  readonly #waiting: Array<{ readonly after: number; readonly send: () => void; readonly characters: number }> = []
  #characters = 0
  #last = 0

  get idle(): boolean {
    return this.#commits.size === 0
  }

  begin(): number {
    this.#commits.add(++this.#last)
    return this.#last
  }

  end(commit: number): void {
    this.#commits.delete(commit)
    const [oldest = Number.POSITIVE_INFINITY] = this.#commits
    while (this.#waiting.length > 0 && this.#waiting[0]!.after < oldest) {
      const { send, characters } = this.#waiting.shift()!
      this.#characters -= characters
      send()
    }
  }

  /** False where too much waits already. */
  follow(send: () => void, characters: number): boolean {
    if (this.#waiting.length >= MAX_WAITING || this.#characters + characters > MAX_WAITING_CHARACTERS) return false
    this.#waiting.push({ after: this.#last, send, characters })
    this.#characters += characters
    return true
  }
}
