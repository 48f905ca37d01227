import type { Actor } from './actor.ts'
import type { Journal } from './journal.ts'
import type { RawPort } from './raw-port.ts'

const PAGE = 100

/** Reads a channel's log from its head back to the oldest entry that is kept, and writes it down as the final state. */
export async function readLog(actor: Actor, { client }: RawPort, journal: Journal): Promise<void> {
  const [channel = 'lobby'] = actor.plan.channels
  let before: object | null = null
  let head: { epoch: string; offset: number; tag: string } | null = null
  let oldest = 0
  for (;;) {
    const reply = await client.history(channel, { limit: PAGE, ...(before === null ? {} : { before }) })
    if (reply === null) return actor.found('lost-ack', channel, 'its log could not be read at the end')
    const { messages, complete, position } = reply
    head ??= position
    if (before === null) oldest = position.offset + 1
    for (const { cmd, param, offset, tag } of messages) {
      if (cmd !== 'said') actor.found('invented', channel, `an event ${cmd} in the log`)
      actor.entry(channel, param, [position.epoch, offset, tag], true)
      oldest = Math.min(oldest, offset)
    }
    if (complete || messages.length === 0) break
    const { offset, tag } = messages[0]
    before = { epoch: position.epoch, offset, tag }
  }
  journal.write({ k: 'final', c: channel, place: [head!.epoch, head!.offset, head!.tag], oldest })
}
