import type { Frame } from '../lib/protocol/message.ts'
import type { ClientCommand } from '../lib/protocol/system.ts'
import type { ChannelError } from './errors.ts'
import type { Outbox, Port } from './outbox.ts'
import type { Answer, SubscriptionHost } from './subscription.ts'
import { paramOf, Subscription } from './subscription.ts'
import type { Turn } from './turn.ts'

/** The channels of a socket, those that the application asked for and those that others joined; and what was asked about them. */
export class Roster implements SubscriptionHost {
  readonly port: Port
  readonly turn: Turn
  readonly outbox: Outbox
  readonly members = new Set<string>()
  #channels = new Map<string, Subscription>()
  /** Never begins again, so that an answer to an earlier link's request fits none of a later one's. */
  #lastRef = 0
  #asked = new Map<number, Answer>()

  constructor(port: Port, turn: Turn, outbox: Outbox) {
    this.port = port
    this.turn = turn
    this.outbox = outbox
  }

  find(name: string): Subscription | undefined {
    return this.#channels.get(name)
  }

  /** The channel of that name, or one for the moment. */
  at(name: string): Subscription {
    return this.find(name) ?? new Subscription(name, this)
  }

  /** The channel of that name, for the application to keep. */
  hold(name: string): Subscription {
    const channel = this.#keep(name)
    channel.held = true
    return channel
  }

  /** Asks; on a link that takes nothing more the answer is its end. */
  ask(cmd: ClientCommand, channel: string, answer: Answer): void {
    const ref = ++this.#lastRef
    this.#asked.set(ref, answer)
    this.port.send(JSON.stringify({ channel, cmd, ref }))
  }

  /** Hands an answer to who asked. False where nobody did, or has the answer. */
  answered(ref: number, frame: Frame): boolean {
    const answer = this.#asked.get(ref)
    answer?.(frame)
    return this.#asked.delete(ref)
  }

  /** What the server says of a channel. What it may say one day and we do not know yet is passed over. */
  system(name: string, frame: Frame): void {
    const { by, outcome, position, presence, reason, joins = [], leaves = [], count } = paramOf(frame)
    const { cmd, ref } = frame
    const channel = this.find(name)
    // The outcome is read first: nothing is changed by a `$joined` that is none.
    if (cmd === '$joined' && outcome.kind) {
      this.members.add(name)
      this.#keep(name).entered({ name: 'joined', by, outcome, position }, presence)
      this.outbox.flush()
    }
    if (cmd === '$left') {
      this.members.delete(name)
      channel?.exited(reason, !!ref)
      this.#forget(name)
    }
    if (cmd === '$presence') channel?.moved(joins, leaves, count)
    if (cmd === '$gap') channel?.tell(cmd, frame.param)
  }

  linkUp(): void {
    for (const channel of this.#channels.values()) channel.act()
  }

  linkLost(): void {
    const asked = [...this.#asked.values()]
    this.#asked.clear()
    this.members.clear()
    for (const answer of asked) answer(null)
    for (const [name, channel] of this.#channels) {
      channel.linkLost()
      this.#forget(name)
    }
  }

  /** The socket has closed for good, unless it is connected again. */
  giveUp(error: ChannelError): void {
    for (const channel of this.#channels.values()) channel.giveUp(error)
  }

  #keep(name: string): Subscription {
    const channel = this.at(name)
    this.#channels.set(name, channel)
    return channel
  }

  #forget(name: string): void {
    if (!this.find(name)?.held) this.#channels.delete(name)
  }
}
