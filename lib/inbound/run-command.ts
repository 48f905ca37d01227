import type { Awaitable } from '../awaitable.ts'
import { chain } from '../awaitable.ts'
import type { Subscription } from '../channel/subscription.ts'
import { closeAs } from '../connection/close.ts'
import type { Connection } from '../connection/connection.ts'
import { encodeText } from '../connection/frame.ts'
import type { Frame, ReceivedFrame } from '../protocol/message.ts'
import { ackOfKept } from './ack.ts'
import { Answer } from './answers.ts'
import type { Dispatcher } from './dispatcher.ts'
import { execute } from './execute.ts'
import type { Inbox } from './inbox.ts'
import { Refusal, resendFrom } from './refusal.ts'
import type { Session } from './session.ts'

/** Where the answer to a command goes. */
interface Address {
  readonly channel: string
  readonly id: number
}

export type CommandFrame = ReceivedFrame & { readonly channel: string }

/** What became of a command: why it was refused, or its ack, which nobody gets who gave it no id. */
export type Result =
  | Refusal
  | { readonly ack: Answer | null /** Whether the store keeps it, so that we need not. */; readonly kept: boolean }
  /** Another connection has its session, and is answered there. */
  | 'fenced'

/**
 * A client's command: after those that came before it on the same channel, the handler runs, what it collected is
 * stored or sent, and the ack follows.
 * @throws {Refusal} where it is refused on arrival
 */
export function runCommand(
  dispatcher: Dispatcher,
  connection: Connection,
  inbox: Inbox,
  frame: CommandFrame,
  bytes: number
): void {
  const { id } = frame
  if (connection.kind === 'plain' || (id === undefined && frame.cmd !== '$void')) {
    const subscription = admit(dispatcher, connection, inbox, frame, bytes)
    subscription.run(() => {
      const settle = (result: Result): void => {
        dispatcher.done(inbox)
        if (result instanceof Refusal) dispatcher.nack(connection, addressOf(frame), result)
      }
      return chain(execute(dispatcher, subscription, inbox, frame, undefined), settle)
    })
    return
  }
  if (id === undefined) throw new Refusal('bad-frame', 'a $void needs an id')
  const { session } = inbox
  const to = frame.cmd === '$void' ? lastOf(frame, id) : id
  const turn = session.sequence.take(id, frame.channel)
  session.sequence.skip(id, to)
  if (turn === 'repeat') answerAgain(dispatcher, connection, inbox, { channel: frame.channel, id })
  else if (turn !== 'run') throw resendFrom(turn.from)
  else begin(dispatcher, connection, inbox, frame, id, bytes)
}

/** The last id that a `$void` gives up. */
function lastOf({ param }: CommandFrame, id: number): number {
  const to = (param as { readonly to?: unknown } | null | undefined)?.to ?? id
  if (Number.isSafeInteger(to) && (to as number) >= id) return to as number
  throw new Refusal('bad-frame', 'to must be an integer from the id on')
}

/** A command whose turn it is; what refuses it on arrival is its answer, or leaves its id for another time. */
function begin(
  dispatcher: Dispatcher,
  connection: Connection,
  inbox: Inbox,
  frame: CommandFrame,
  id: number,
  bytes: number
): void {
  const { session } = inbox
  const at = { channel: frame.channel, id }
  let subscription: Subscription
  try {
    if (frame.cmd === '$void') dispatcher.begin(inbox)
    else subscription = admit(dispatcher, connection, inbox, frame, bytes)
  } catch (error) {
    refuseOnArrival(dispatcher, connection, session, at, error as Refusal)
    return
  }
  const run = (): Awaitable<void> => {
    const settle = (result: Result): void => {
      dispatcher.done(inbox)
      answerWith(dispatcher, connection, session, at, result)
      session.end(id)
    }
    // It was received by a connection that is gone: its client sends it again by the next.
    if (!connection.open) return settle('fenced')
    const { from, running } = session.sequence.before(id, frame.channel)
    // One before it may have been given back since it came.
    if (from !== null) return settle(resendFrom(from))
    // Or it came by another connection, or while another membership lasted.
    const other = running === null ? session.runningOn(frame.channel) : session.whenDone(running)
    if (other !== undefined) return other.then(run)
    const earlier = session.sequence.isMaybeStored(id) ? resultOf(dispatcher, connection, session, at) : null
    const done = chain(earlier, known => {
      if (!connection.open) return settle('fenced')
      if (known !== null) return settle(known)
      if (frame.cmd === '$void') return settle(new Refusal('voided'))
      return chain(execute(dispatcher, subscription!, inbox, frame, id), settle)
    })
    return done instanceof Promise ? session.runs(frame.channel, done) : done
  }
  const lane = connection.memberships.get(frame.channel) as Subscription | undefined
  if (lane === undefined) void run()
  else lane.run(run)
}

/** A refusal for good is no answer to what was stored after all, as its sender was told of a failure then. */
function refuseOnArrival(
  dispatcher: Dispatcher,
  connection: Connection,
  session: Session,
  at: Address,
  refusal: Refusal
): void {
  if (refusal.retry || !session.sequence.isMaybeStored(at.id)) {
    answerWith(dispatcher, connection, session, at, refusal)
    return
  }
  void resultOf(dispatcher, connection, session, at).then(known => {
    answerWith(dispatcher, connection, session, at, known ?? refusal)
    session.end(at.id)
  })
}

/** Records what became of a command and tells its sender. An id that is refused for the moment is given back. */
export function answerWith(
  dispatcher: Dispatcher,
  connection: Connection,
  session: Session,
  at: Pick<Frame, 'channel'> & { readonly id: number },
  result: Result
): void {
  const { id } = at
  const { sequence } = session
  const now = dispatcher.parts.clock.monotonic()
  if (result === 'fenced' || (result instanceof Refusal && result.retry)) {
    sequence.giveBack(id)
    if (result !== 'fenced') dispatcher.nack(connection, at, result)
    else if (connection.open) closeAs(connection, 'replaced')
    return
  }
  sequence.consume(id)
  if (result instanceof Refusal) {
    const text = dispatcher.nack(connection, at, result)
    session.answers.add(new Answer(at.channel ?? '', id, text, false), now)
  } else {
    if (!result.kept) session.answers.add(result.ack!, now)
    tellAnswer(dispatcher, connection, result.ack!)
  }
}

/** A reply is of its channel: who is no member any more gets the answer without it. */
function tellAnswer(dispatcher: Dispatcher, connection: Connection, answer: Answer): void {
  const membership = connection.memberships.get(answer.channel) as Subscription | undefined
  if (!answer.replies || membership?.state !== 'joined') dispatcher.tellText(connection, answer.channel, answer.bare)
  else dispatcher.parts.channels.replyEncoded(membership, encodeText(answer.text), answer)
}

/**
 * An id that was accepted before: what became of it is said once more, for each copy that comes, in the channel's turn.
 * @throws {Refusal} as `Dispatcher.begin`
 */
function answerAgain(dispatcher: Dispatcher, connection: Connection, inbox: Inbox, at: Address): void {
  const { session } = inbox
  dispatcher.begin(inbox)
  // Of the run that is under way now: one that comes later may wait behind this copy for the channel's turn.
  const done = session.whenDone(at.id)
  const run = async (): Promise<void> => {
    try {
      await done
      if (connection.open) await tellAgain(dispatcher, connection, session, at)
    } finally {
      dispatcher.done(inbox)
    }
  }
  const subscription = connection.memberships.get(at.channel) as Subscription | undefined
  if (subscription === undefined) void run()
  else subscription.run(run)
}

async function tellAgain(dispatcher: Dispatcher, connection: Connection, session: Session, at: Address): Promise<void> {
  const known = session.answers.get(at.id)
  if (known !== undefined) {
    tellAnswer(dispatcher, connection, known)
    return
  }
  const result = await resultOf(dispatcher, connection, session, at)
  if (!connection.open) return
  if (result instanceof Refusal) dispatcher.nack(connection, at, result)
  else if (result !== null) tellAnswer(dispatcher, connection, result.ack)
  else if (session.sequence.isOpen(at.id)) dispatcher.nack(connection, at, resendFrom(at.id))
  else dispatcher.nack(connection, at, new Refusal('result-expired'))
}

/** What the store knows of an id: its ack once what it tells of has been delivered, null where there is none. */
async function resultOf(
  dispatcher: Dispatcher,
  connection: Connection,
  session: Session,
  { id }: Address
): Promise<Refusal | { readonly ack: Answer; readonly kept: true } | null> {
  const { broker, publisher, observer } = dispatcher.parts
  try {
    const result = await broker.result(session.key, id)
    if (result === null) return null
    const ack = ackOfKept(dispatcher, id, result)
    await publisher.delivered(ack.channel, result.position)
    return { ack, kept: true }
  } catch (error) {
    observer.failed(error, connection)
    return new Refusal('unavailable')
  }
}

/** Where the nack of a command goes that is not numbered; a plain client's id is told back to it. */
function addressOf({ channel, id }: CommandFrame): Pick<Frame, 'channel' | 'id'> {
  return id === undefined ? { channel } : { channel, id }
}

/** @throws {Refusal} where there is no membership, or no room for a command of it now */
function admit(
  dispatcher: Dispatcher,
  connection: Connection,
  inbox: Inbox,
  frame: CommandFrame,
  bytes: number
): Subscription {
  const subscription = connection.memberships.get(frame.channel) as Subscription | undefined
  if (subscription === undefined) throw new Refusal('not-joined')
  subscription.channel?.countIn(bytes)
  limitChannelRate(dispatcher, subscription, inbox)
  dispatcher.begin(inbox)
  return subscription
}

function limitChannelRate(dispatcher: Dispatcher, subscription: Subscription, inbox: Inbox): void {
  const perSecond = subscription.channel?.resolved?.definition.rules.limits?.messagesPerSecond ?? 0
  if (perSecond === 0) return
  const { clock } = dispatcher.parts
  const bucket = inbox.channelBucket(subscription.name, () => ({ clock, perSecond, burst: perSecond }))
  const waitMs = bucket.tryTake()
  if (waitMs > 0) throw new Refusal('rate-limited', undefined, waitMs)
}
