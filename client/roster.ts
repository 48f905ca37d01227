import type { Frame } from '../lib/protocol/message.ts'
import type { ClientCommand } from '../lib/protocol/system.ts'
import type { ChannelError } from './errors.ts'
import type { Outbox, Port } from './outbox.ts'
import type { Answer, SubscriptionHost } from './subscription.ts'
import { paramOf, Subscription } from './subscription.ts'
import type { Turn } from './turn.ts'

/** The subprotocol has 2,048 characters: 7 for `resume.`, and 4 for each 3 of the JSON. */
const MAX_JSON = 1530

/** Channels that are kept for the sake of their positions, if nobody joins them again. */
const MAX_KEPT = 1000

/** Channels that the application has no wish for and does not listen to, which are known all the same. */
export const MAX_IDLE = 1000

type Places = Record<string, [epoch: string, offset: number, tag: string]>

/** The channels of a socket, those that the application asked for and those that others joined; and what was asked about them. */
export class Roster implements SubscriptionHost {
  readonly port: Port
  readonly turn: Turn
  readonly outbox: Outbox
  readonly tell: SubscriptionHost['tell']
  readonly members = new Set<string>()
  historyLimit = 0
  more = false
  #channels = new Map<string, Subscription>()
  /** Those of them that are of no use now; the longest so first. */
  #idle = new Set<Subscription>()
  /** Those that were more: a name never has two, as long as the application has the one. */
  #dropped = new Map<string, WeakRef<Subscription>>()
  #collected = new FinalizationRegistry<string>(name => this.#dropped.get(name)?.deref() || this.#dropped.delete(name))
  /** Never begins again, so that an answer to an earlier link's request fits none of a later one's. */
  #lastRef = 0
  #asked = new Map<number, Answer>()

  constructor(port: Port, turn: Turn, outbox: Outbox, tell: SubscriptionHost['tell']) {
    this.port = port
    this.turn = turn
    this.outbox = outbox
    this.tell = tell
  }

  find(name: string): Subscription | undefined {
    return this.#channels.get(name) ?? this.#dropped.get(name)?.deref()
  }

  /** The channel of that name, or one for the moment. */
  at(name: string): Subscription {
    return this.find(name) ?? new Subscription(name, this)
  }

  /** The channel of that name, for the application to keep. */
  hold(name: string): Subscription {
    const channel = this.at(name)
    channel.held = true
    this.keep(channel)
    this.forget(channel)
    return channel
  }

  keep(channel: Subscription): void {
    this.#idle.delete(channel)
    this.#dropped.delete(channel.name)
    this.#channels.set(channel.name, channel)
  }

  forget(channel: Subscription): void {
    if (!channel.isIdle || !this.#channels.has(channel.name)) return
    this.#idle.delete(channel)
    const [oldest = channel] = this.#idle.add(channel)
    if (this.#idle.size <= MAX_IDLE) return
    this.#idle.delete(oldest)
    this.#channels.delete(oldest.name)
    this.#dropped.set(oldest.name, new WeakRef(oldest))
    this.#collected.register(oldest, oldest.name)
  }

  /** Asks; on a link that takes nothing more the answer is its end. */
  ask(cmd: ClientCommand, channel: string, answer: Answer, param?: object): void {
    const ref = ++this.#lastRef
    this.#asked.set(ref, answer)
    this.port.send(JSON.stringify({ channel, cmd, ref, param }))
  }

  /** What the next connection is to know of this one, as a subprotocol; none where there is nothing to know. */
  resume(session: string | undefined, dials: number): string[] {
    const places: Places = {}
    this.more = false
    const text = (more: boolean): string => JSON.stringify({ s: session, n: dials, p: places, ...(more && { more }) })
    // What only we join is left out first: its position goes with the `$join`.
    for (const { name, own, position } of [...this.#channels.values()].sort((a, b) => +a.own - +b.own)) {
      if (!position) continue
      places[name] = [position.epoch, position.offset, position.tag]
      if (text(true).length <= MAX_JSON) continue
      delete places[name]
      this.more ||= !own
    }
    if (!session && !Object.keys(places).length) return []
    return [`resume.${btoa(text(this.more)).replace(/=/g, '').replace(/\+/g, '-').replace(/\//g, '_')}`]
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
      const entered = this.at(name)
      this.keep(entered)
      entered.entered({ name: 'joined', by, outcome, position }, presence)
      this.outbox.flush()
    }
    if (cmd === '$left') {
      this.members.delete(name)
      channel?.exited(reason, !!ref)
      this.#outlived(channel)
    }
    if (cmd === '$presence') channel?.there.moved(joins, leaves, count)
    if (cmd === '$gap' || cmd === '$skip') channel?.heard(frame)
  }

  linkUp(): void {
    for (const channel of this.#channels.values()) channel.act()
  }

  linkLost(): void {
    const asked = [...this.#asked.values()]
    this.#asked.clear()
    this.members.clear()
    for (const answer of asked) answer(null)
    for (const channel of this.#channels.values()) {
      channel.linkLost()
      // Whoever joined it may join it again, and then it goes on from there.
      if (!channel.position || this.#channels.size > MAX_KEPT) this.#outlived(channel)
    }
  }

  /** The socket has closed for good, unless it is connected again. */
  giveUp(error: ChannelError): void {
    for (const channel of this.#channels.values()) channel.giveUp(error)
  }

  /** Its membership has ended, and what it had to tell. */
  #outlived(channel: Subscription | undefined): void {
    if (channel?.held) this.forget(channel)
    else if (channel) this.#channels.delete(channel.name)
  }
}
