import type { Channel } from '../channel/channel.ts'
import type { ChannelRules } from '../channel/rules.ts'
import type { Subscription } from '../channel/subscription.ts'
import type { Connection } from '../connection/connection.ts'
import type { Frame } from '../protocol/message.ts'
import type { Position } from '../protocol/position.ts'
import { isPosition } from '../protocol/position.ts'
import { systemFrame } from '../protocol/system.ts'
import type { Dispatcher } from './dispatcher.ts'
import { history } from './history.ts'
import type { Inbox } from './inbox.ts'
import { nackFrame, Refusal } from './refusal.ts'

/** How often an access rule is asked for one join that revocations keep overtaking. */
const MAX_ASKED = 3

export type RequestFrame = Frame & { readonly channel: string }

/**
 * A client's `$join`, `$leave`, `$presence` or `$history`.
 * @throws {Refusal} where it is refused on arrival
 */
export function runRequest(dispatcher: Dispatcher, connection: Connection, inbox: Inbox, frame: RequestFrame): void {
  const request = REQUESTS.get(frame.cmd)
  if (request === undefined || connection.kind === 'plain') throw new Refusal('unknown-command')
  if (frame.ref === undefined) throw new Refusal('bad-frame', `${frame.cmd} needs a ref`)
  request(dispatcher, connection, inbox, frame, frame.ref)
}

type Request = (dispatcher: Dispatcher, connection: Connection, inbox: Inbox, frame: RequestFrame, ref: number) => void

const REQUESTS: ReadonlyMap<string, Request> = new Map([
  ['$join', join],
  ['$leave', leave],
  ['$presence', presence],
  ['$history', history]
])

function join(
  dispatcher: Dispatcher,
  connection: Connection,
  inbox: Inbox,
  { channel: name, param }: RequestFrame,
  ref: number
): void {
  const { channels, limits } = dispatcher.parts
  const present = membershipOf(connection, name)
  if (present !== undefined) {
    whenMember(dispatcher, inbox, present, ref, () => channels.confirm(present, ref))
    return
  }
  const given = positionOf(param, 'position')
  const resolved = channels.definitions.resolve(name)
  const access = resolved?.definition.rules.access
  if (resolved === null || access === undefined) throw new Refusal('unknown-channel')
  if (limits.channels !== 0 && connection.memberships.size >= limits.channels) throw new Refusal('too-many-channels')
  dispatcher.begin(inbox)
  const subscription = channels.expect(connection, name, 'client')
  subscription.run(async () => {
    const ask = (): Promise<void> => decide(dispatcher, subscription, access, resolved.params)
    try {
      await enter(dispatcher, subscription, ask, () => given ?? connection.cameWith?.position(name) ?? null, ref)
    } catch (error) {
      refuseJoin(dispatcher, subscription, ref, error)
    } finally {
      dispatcher.done(inbox)
    }
    await channels.greet(subscription)
  })
}

/**
 * Asks and joins; once more where a revocation came between the two.
 * @throws {Refusal} or what the rule throws; FST_CHANNELS_STORE_FAILED
 */
async function enter(
  dispatcher: Dispatcher,
  subscription: Subscription,
  ask: () => Promise<void>,
  since: () => Position | null,
  ref: number
): Promise<void> {
  const { channels } = dispatcher.parts
  for (let asked = 0; asked < MAX_ASKED; asked++) {
    subscription.overtaken = false
    await ask()
    // Ended after the rule had allowed it and before its answer came here.
    if (subscription.state === 'ended') throw new Refusal('not-joined')
    // In the turn of the join, so that no two of them take the last place.
    if (!channels.hasRoom(subscription.name)) throw new Refusal('channel-full')
    await channels.enter(subscription, since(), ref)
    if (subscription.admitted) return
    if (!subscription.overtaken) throw new Refusal('not-joined')
  }
  throw new Refusal('forbidden')
}

export function membershipOf(connection: Connection, name: string): Subscription | undefined {
  return connection.memberships.get(name) as Subscription | undefined
}

/**
 * Does the task in its turn, if the connection is still a member by then.
 * @throws {Refusal} as `begin`
 */
function whenMember(
  dispatcher: Dispatcher,
  inbox: Inbox,
  subscription: Subscription,
  ref: number,
  task: (channel: Channel) => void
): void {
  dispatcher.begin(inbox)
  subscription.run(() => {
    dispatcher.done(inbox)
    if (subscription.channel !== null) task(subscription.channel)
    else dispatcher.nack(subscription.connection, { channel: subscription.name, ref }, new Refusal('not-joined'))
  })
}

/** @throws {Refusal} where it is given and is none */
export function positionOf(param: unknown, key: 'position' | 'before' | 'after'): Position | null {
  const position = (Object(param) as Record<string, unknown>)[key]
  if (position === undefined) return null
  if (!isPosition(position)) throw new Refusal('invalid-param', `/${key}: Expected a position`)
  return position
}

/** @throws {Refusal} or what the rule throws */
async function decide(
  dispatcher: Dispatcher,
  subscription: Subscription,
  access: NonNullable<ChannelRules['access']>,
  params: Readonly<Record<string, string>>
): Promise<void> {
  const { clock, accessTimeoutMs } = dispatcher.parts
  const { connection, name, signal } = subscription
  const { profile, ip } = connection
  const timer = clock.after(accessTimeoutMs, () => subscription.abort(new Refusal('timeout')))
  // Whatever the rule still does, nobody waits for it longer than the membership is wanted.
  const given = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => {
      reject(signal.reason instanceof Refusal ? signal.reason : new Refusal('not-joined'))
    })
  })
  given.catch(() => {})
  try {
    const asked = access({ channel: name, params, profile, via: 'client', connection, ip, signal })
    const allowed = await Promise.race([asked, given])
    if (allowed !== true) throw new Refusal('forbidden')
  } finally {
    timer.cancel()
  }
}

function refuseJoin(dispatcher: Dispatcher, subscription: Subscription, ref: number, error: unknown): void {
  const { connection, name } = subscription
  const refusal = dispatcher.refusal(connection, error)
  // It may have been given up meanwhile, and another asked for under the same name.
  if (connection.memberships.get(name) === subscription) dispatcher.parts.channels.leave(subscription, 'server')
  if (connection.open) dispatcher.nack(connection, { channel: name, ref }, refusal)
}

/** After the commands that were sent before it. */
function leave(
  dispatcher: Dispatcher,
  connection: Connection,
  inbox: Inbox,
  { channel: name }: RequestFrame,
  ref: number
): void {
  const subscription = membershipOf(connection, name)
  if (subscription === undefined) throw new Refusal('not-joined')
  whenMember(dispatcher, inbox, subscription, ref, () => dispatcher.parts.channels.leave(subscription, 'client', ref))
}

/** Only members may ask: they have passed the access check. */
function presence(
  dispatcher: Dispatcher,
  connection: Connection,
  inbox: Inbox,
  { channel: name }: RequestFrame,
  ref: number
): void {
  const subscription = membershipOf(connection, name)
  if (subscription === undefined) throw new Refusal('not-joined')
  whenMember(dispatcher, inbox, subscription, ref, channel => {
    const at = { channel: name, ref }
    if (!channel.tellsPresence)
      dispatcher.nack(connection, at, new Refusal('forbidden', 'The channel has no presence.'))
    else {
      const reply = channel.presence.state()
      const ack = systemFrame('$ack', { reply, stored: 'none' }, at)
      dispatcher.parts.channels.reply(subscription, ack, nackFrame(new Refusal('not-joined'), at))
    }
  })
}
