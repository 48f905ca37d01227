import type { Awaitable } from '../awaitable.ts'
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
  /** The last commit under way of each channel that has one: what is not kept goes out after it. */
  readonly #underWay = new Map<string, Promise<unknown>>()

  /** `failed` hears of every publication that could not be stored. */
  constructor(channels: Channels, broker: Broker, publishing: Publishing, failed: (error: unknown) => void) {
    this.#channels = channels
    this.#broker = broker
    this.#publishing = publishing
    this.#failed = failed
  }

  /**
   * @throws as messageText; FST_CHANNELS_UNKNOWN_EVENT and FST_CHANNELS_INVALID_EVENT where events are checked
   */
  prepare(through: string, message: OutgoingMessage): Prepared {
    assertChannelName(through)
    const text = messageText(through, message, this.#publishing.messageBytes)
    const carrier = this.#channels.resolve(through)?.definition ?? null
    const { channel = through, cmd, param } = message
    const subject = channel === through ? carrier : (this.#channels.resolve(channel)?.definition ?? null)
    if (this.#publishing.checkEvents) subject?.assertEvent(cmd, param)
    return { channel: through, text, log: subject?.isEphemeral(cmd) === true ? null : (carrier?.log ?? null) }
  }

  /** Sends what is not kept to the members, of whom there may be none; after what is being committed on that channel. */
  send({ channel, text }: Prepared, audience?: Audience): void {
    const commit = this.#underWay.get(channel)
    if (commit === undefined) {
      this.#channels.publish(channel, encodeText(text), audience)
      return
    }
    const send = (): void => this.#channels.publish(channel, encodeText(text), audience)
    this.#track(channel, commit.then(send))
  }

  /** Stores a channel's publications, and the command that they are the effect of, in one step; its feed sends them. */
  commit(channel: string, publications: readonly Publication[], command: CommandRecord | null): Awaitable<Committed> {
    const committed = this.#broker.commit({ publications, command })
    if (committed instanceof Promise)
      this.#track(
        channel,
        committed.then(result => this.delivered(channel, positionOf(result)))
      )
    return committed
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

  /** What is not kept waits for all of it, whichever ends first. */
  #track(channel: string, work: Promise<unknown>): void {
    const before = this.#underWay.get(channel)
    const done = Promise.allSettled([before, work]).then(() => {
      if (this.#underWay.get(channel) === done) this.#underWay.delete(channel)
    })
    this.#underWay.set(channel, done)
  }
}
