import type { Entry, ReadFrom, ReadResult } from '../broker/broker.ts'
import { PAGE_ENTRIES } from '../broker/broker.ts'
import type { Subscription } from '../channel/subscription.ts'
import { isAddressed } from '../connection/address.ts'
import type { Connection } from '../connection/connection.ts'
import { encodeFrame, withPlace } from '../protocol/message.ts'
import type { Position } from '../protocol/position.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Inbox } from './inbox.ts'
import { nackFrame, Refusal } from './refusal.ts'
import type { RequestFrame } from './run-request.ts'
import { membershipOf, positionOf } from './run-request.ts'

/** Only members may ask: they have passed the access check, and still do. */
export function history(
  dispatcher: Dispatcher,
  connection: Connection,
  inbox: Inbox,
  { channel: name, param }: RequestFrame,
  ref: number
): void {
  const subscription = membershipOf(connection, name)
  if (subscription === undefined) throw new Refusal('not-joined')
  const { limit } = Object(param) as { limit?: unknown }
  const most = dispatcher.parts.limits.history
  if (!Number.isInteger(limit) || (limit as number) < 1 || (limit as number) > most) {
    throw new Refusal('invalid-param', `/limit: Expected an integer from 1 to ${most}`)
  }
  const after = positionOf(param, 'after')
  const before = positionOf(param, 'before')
  if (after !== null && before !== null) throw new Refusal('invalid-param', '/before: Expected none beside after')
  const from: ReadFrom = after === null ? { before } : { after }
  dispatcher.begin(inbox)
  subscription.run(async () => {
    try {
      await connection.sendPage(() => answer(dispatcher, subscription, from, limit as number, ref))
    } finally {
      dispatcher.done(inbox)
    }
  })
}

async function answer(
  dispatcher: Dispatcher,
  subscription: Subscription,
  from: ReadFrom,
  limit: number,
  ref: number
): Promise<void> {
  const { connection, name } = subscription
  const { broker, channels, observer } = dispatcher.parts
  const at = { channel: name, ref }
  const nack = (refusal: Refusal): void => {
    if (connection.open) dispatcher.nack(connection, at, refusal)
  }
  if (subscription.channel === null) return nack(new Refusal('not-joined'))
  if (subscription.channel.head === null) return nack(new Refusal('forbidden', 'The channel keeps nothing.'))
  const back = !('after' in from)
  let texts: string[] = []
  // Where the first page holds nothing for this reader the next are as large as may be: it could be many of its own making.
  for (let next = from, most = limit; ; most = PAGE_ENTRIES) {
    let page: ReadResult
    try {
      page = await broker.read(name, next, { entries: most, bytes: connection.pageBytes })
    } catch (error) {
      observer.failed(error, connection)
      return nack(new Refusal('unavailable'))
    }
    // The membership may have ended while the log was read: then it is not this connection's any more.
    if (subscription.channel === null) return nack(new Refusal('not-joined'))
    if (page.kind === 'lost') return nack(new Refusal('unknown-position', page.reason))
    const { entries, complete, head } = page
    for (const { text, offset, tag, except } of entries) {
      if (!isAddressed(connection, except)) texts.push(withPlace(text, offset, tag))
    }
    if (texts.length > 0 || complete) {
      const whole = complete && texts.length <= limit
      texts = back ? texts.slice(-limit) : texts.slice(0, limit)
      const reply = `{"messages":[${texts.join()}],"complete":${whole},"position":${JSON.stringify(head)}}`
      const text = `${encodeFrame({ ...at, cmd: '$ack' }).slice(0, -1)},"param":{"reply":${reply},"stored":"none"}}`
      channels.replyText(subscription, text, nackFrame(new Refusal('not-joined'), at))
      break
    }
    // Nothing in it was for this connection: without a message it would not know where to go on.
    next = beyond(next, entries, head)
  }
}

/** Where the page after this one begins, or before it. */
function beyond(from: ReadFrom, entries: readonly Entry[], { epoch }: Position): ReadFrom {
  const { offset, tag } = 'after' in from ? entries.at(-1)! : entries[0]!
  const position = { epoch, offset, tag }
  return 'after' in from ? { after: position } : { before: position }
}
