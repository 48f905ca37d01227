import type { Channel } from '../channel/channel.ts'
import type { Collected, CommandContext } from '../channel/rules.ts'
import type { Subscription } from '../channel/subscription.ts'
import type { Connection } from '../connection/connection.ts'
import { encodeText } from '../connection/frame.ts'
import type { OutgoingMessage } from '../connection/publication.ts'
import { channelsError } from '../errors.ts'
import { isThenable } from '../host-code.ts'
import type { Frame } from '../protocol/message.ts'
import { encodeFrame } from '../protocol/message.ts'
import { systemFrame } from '../protocol/system.ts'
import type { Command } from './commands.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Inbox } from './inbox.ts'
import { TokenBucket } from './rate-limit.ts'
import { Refusal } from './refusal.ts'

/** Channels with a rate of their own that are remembered for one connection. */
const MAX_CHANNEL_BUCKETS = 1024

type CommandFrame = Frame & { readonly channel: string }

/**
 * A client's command: after those that came before it on the same channel, the handler runs, what it collected is
 * published, and the ack follows.
 * @throws {Refusal} where it is refused on arrival
 */
export function runCommand(
  dispatcher: Dispatcher,
  connection: Connection,
  inbox: Inbox,
  frame: CommandFrame,
  bytes: number
): void {
  const id = connection.kind === 'plain' ? undefined : frame.id
  if (connection.kind !== 'plain') takeId(inbox, id)
  const subscription = admit(dispatcher, connection, inbox, frame, bytes)
  subscription.lane.run(() => {
    const outcome = execute(dispatcher, subscription, inbox, frame, id)
    const settle = (result: Result): void => {
      dispatcher.done(inbox)
      if (result instanceof Refusal) dispatcher.nack(connection, addressOf(frame), result)
      else if (result !== null) dispatcher.parts.channels.replyEncoded(subscription, result)
    }
    if (!(outcome instanceof Promise)) return settle(outcome)
    return outcome.then(settle)
  })
}

/** Where a command's nack goes; a plain client's id is told back to it as well. */
function addressOf({ channel, id }: CommandFrame): Pick<Frame, 'channel' | 'id'> {
  return id === undefined ? { channel } : { channel, id }
}

/** @throws {Refusal} where there is no membership, or no room for a command of it now; the latter leaves its id unused */
function admit(
  dispatcher: Dispatcher,
  connection: Connection,
  inbox: Inbox,
  frame: CommandFrame,
  bytes: number
): Subscription {
  try {
    const subscription = connection.memberships.get(frame.channel) as Subscription | undefined
    if (subscription === undefined) throw new Refusal('not-joined')
    subscription.channel?.traffic.countIn(bytes)
    limitChannelRate(dispatcher, subscription, inbox)
    dispatcher.begin(inbox)
    return subscription
  } catch (error) {
    if (error instanceof Refusal && error.retry && frame.id !== undefined) inbox.sequence.giveBack(frame.id)
    throw error
  }
}

/** What became of a command: why it was refused, or its encoded ack, which a plain client does not get. */
type Result = Refusal | Uint8Array | null

function takeId(inbox: Inbox, id: number | undefined): void {
  if (id === undefined) throw new Refusal('bad-frame', 'a command needs an id')
  const turn = inbox.sequence.take(id)
  if (turn === 'expired') throw new Refusal('result-expired')
  if (turn === 'ahead') throw new Refusal('resend-from', `The next id is ${inbox.sequence.next}.`)
}

function limitChannelRate(dispatcher: Dispatcher, subscription: Subscription, inbox: Inbox): void {
  const perSecond = subscription.channel?.resolved?.definition.rules.limits?.messagesPerSecond ?? 0
  if (perSecond === 0) return
  let bucket = inbox.channelBuckets.get(subscription.name)
  if (bucket === undefined) {
    bucket = new TokenBucket(dispatcher.parts.clock, perSecond, perSecond)
    // Kept over a leave, which must not be a way round the limit, and bounded, so that going from room to room is no leak.
    const [oldest] = inbox.channelBuckets.keys()
    if (inbox.channelBuckets.size >= MAX_CHANNEL_BUCKETS) inbox.channelBuckets.delete(oldest!)
    inbox.channelBuckets.set(subscription.name, bucket)
  }
  const waitMs = bucket.tryTake()
  if (waitMs > 0) throw new Refusal('rate-limited', undefined, waitMs)
}

/** Does not throw; a promise only where the handler made one. */
function execute(
  dispatcher: Dispatcher,
  subscription: Subscription,
  inbox: Inbox,
  frame: CommandFrame,
  id: number | undefined
): Result | Promise<Result> {
  const { connection, channel } = subscription
  const refuse = (error: unknown): Refusal => dispatcher.refusal(connection, error)
  try {
    if (channel === null) throw new Refusal('not-joined')
    const definition = channel.resolved?.definition
    const table = definition === undefined ? null : dispatcher.parts.commands.of(definition)
    const collected: Collected[] = []
    const command = table === null ? null : checkedCommand(table, frame)
    const answer =
      command === null
        ? passMessage(inbox, connection, frame)
        : command.handler(frame.param, contextOf(subscription, channel, frame, collected))
    const commit = (reply: unknown): Uint8Array | null => {
      if (command !== null) assertReply(command, frame.cmd, reply)
      // All that can fail comes before the first publication: half a command's effects must not go out.
      const ack = id === undefined ? null : encodeAck(frame, id, reply)
      publishAll(dispatcher, channel, connection, collected)
      return ack
    }
    if (!isThenable(answer)) return commit(answer)
    return Promise.resolve(answer).then(commit).catch(refuse)
  } catch (error) {
    return refuse(error)
  }
}

function checkedCommand(table: ReadonlyMap<string, Command>, frame: CommandFrame): Command {
  const command = table.get(frame.cmd)
  if (command === undefined) throw new Refusal('unknown-command')
  const violation = command.param.violation(frame.param)
  if (violation !== null) throw new Refusal('invalid-param', `${violation.path}: ${violation.rule}`)
  return command
}

/** A channel without commands of its own leaves its input to `onMessage`. */
function passMessage(inbox: Inbox, connection: Connection, frame: CommandFrame): unknown {
  if (inbox.onMessage === null) throw new Refusal('unknown-command')
  const from = connection.profile === null ? {} : { from: connection.profile.id }
  return inbox.onMessage({ channel: frame.channel, cmd: frame.cmd, param: frame.param, ...from }, connection)
}

function contextOf(
  subscription: Subscription,
  channel: Channel,
  frame: CommandFrame,
  collected: Collected[]
): CommandContext {
  const { connection } = subscription
  const { profile } = connection
  return {
    channel: channel.name,
    params: channel.params,
    connection,
    profile,
    idempotencyKey: connection.kind === 'plain' ? null : `${connection.session}:${frame.id}`,
    get signal() {
      return subscription.signal
    },
    logger: connection.logger,
    publish(event, options) {
      const from = profile === null ? {} : { from: profile.id }
      const message = { ...(event as OutgoingMessage), ...from }
      collected.push({ message, exceptSender: options?.exceptSender === true })
    }
  }
}

function assertReply(command: Command, cmd: string, reply: unknown): void {
  const violation = command.reply?.violation(reply) ?? null
  if (violation !== null) throw channelsError('FST_CHANNELS_INVALID_REPLY', cmd, violation.path, violation.rule)
}

function encodeAck(frame: CommandFrame, id: number, reply: unknown): Uint8Array {
  const param = { ...(reply === undefined ? {} : { reply }), stored: 'none' as const }
  try {
    return encodeText(encodeFrame(systemFrame('$ack', param, { channel: frame.channel, id })))
  } catch (error) {
    throw channelsError('FST_CHANNELS_UNSERIALISABLE', frame.cmd, (error as Error).message)
  }
}

function publishAll(
  dispatcher: Dispatcher,
  channel: Channel,
  sender: Connection,
  collected: readonly Collected[]
): void {
  const { channels } = dispatcher.parts
  const frames = collected.map(({ message }) => channels.encode(channel.name, message))
  frames.forEach((frame, i) => {
    // By name: while the handler ran everybody may have left, and those who came since are members of a new Channel.
    channels.publish(channel.name, frame, collected[i]!.exceptSender ? { except: new Set([sender]) } : undefined)
  })
}
