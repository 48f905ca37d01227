import { EventEmitter } from 'node:events'
import t from 'tap'
import type { Commit, Committed } from '../../lib/broker/broker.ts'
import { MemoryBroker, MemoryStore } from '../../lib/broker/memory.ts'
import { Channel } from '../../lib/channel/channel.ts'
import { Feed } from '../../lib/channel/feed.ts'
import type { ChannelRules } from '../../lib/channel/rules.ts'
import { Resume } from '../../lib/connection/resume.ts'
import { Turn } from '../../lib/connection/turn.ts'
import { WebSocketTransport } from '../../lib/connection/websocket.ts'
import { AllAnswers, Answer, Answers } from '../../lib/inbound/answers.ts'
import type { Logger } from '../../lib/log.ts'
import { DEFAULT_LIMITS, DEFAULT_TIMES } from '../../lib/options.ts'
import { command, defineChannel, Type } from '../../lib/protocol/index.ts'
import { Service } from '../../lib/service.ts'
import { Refusals } from '../../lib/stats.ts'
import { ManualClock } from '../fixtures/clock.ts'
import { FakeTransport } from '../fixtures/transport.ts'

const noop = (): void => {}
const logger: Logger = { error: noop, warn: noop, info: noop, debug: noop, child: () => logger }
const room = defineChannel('room', {
  commands: { say: command(Type.Any()), odd: command(Type.Any(), { reply: Type.Any() }) }
})

/** A store in the same turn that throws where it is told to. */
class ThrowingBroker extends MemoryBroker {
  subscribing = true
  opening = true
  committing: 'well' | 'not' | 'unheard' = 'well'

  override subscribe(...args: Parameters<MemoryBroker['subscribe']>) {
    if (!this.subscribing) throw new Error('no')
    return super.subscribe(...args)
  }

  override openSession(...args: Parameters<MemoryBroker['openSession']>) {
    if (!this.opening) throw new Error('no')
    return super.openSession(...args)
  }

  override commit(commit: Commit): Committed {
    if (this.committing === 'not') throw new Error('no')
    const committed = super.commit(commit)
    if (this.committing === 'unheard') throw new Error('no')
    return committed
  }
}

function build() {
  const clock = new ManualClock()
  const broker = new ThrowingBroker({ clock, logger, onControl: noop }, new MemoryStore())
  const service = new Service({
    ...{ clock, logger, broker, limits: DEFAULT_LIMITS, hooks: {}, refusals: new Refusals(), contract: null },
    ...{ checkEvents: false, userChannel: false, onMessage: null, pendingHandshakes: () => 0 },
    times: { ...DEFAULT_TIMES, heartbeatMs: 1_000_000 }
  })
  const commands = {
    say: (n: unknown, context: any) => context.publish({ cmd: 'said', param: n }),
    odd: () => noop
  }
  service.serve(room, { access: () => true, log: true, commands } as unknown as ChannelRules)
  service.ready()
  const open = async (resume: Resume | null = null) => {
    const transport = new FakeTransport()
    const { signal } = new AbortController()
    const connection = await service.open(
      {
        ...{
          kind: 'channels.v1',
          ticket: null,
          resume,
          action: 'test',
          logger,
          profile: { id: 'ann' },
          ip: '10.0.0.1',
          signal
        },
        ...{ assertPending: noop, opened: noop, open: () => transport }
      },
      { channel: 'room', metadata: {}, onMessage: undefined, userChannel: undefined }
    )
    await clock.advance(0)
    return { transport, connection }
  }
  return { clock, broker, service, open }
}

t.test('a connection whose channel cannot be listened to is closed 1013, and the next one may do better', async t => {
  const { broker, open } = build()
  broker.subscribing = false
  await t.rejects(open(), { code: 'FST_CHANNELS_CONNECTION_CLOSED' })
  broker.subscribing = true
  t.match((await open()).transport.commands, ['$welcome', '$joined'])
})

t.test('a handshake whose session cannot be read is refused for now, and the next one may do better', async t => {
  const { broker, open } = build()
  const resume = new Resume('A'.repeat(22), 1, new Map(), false)
  broker.opening = false
  await t.rejects(open(resume), { code: 'FST_CHANNELS_STORE_FAILED', statusCode: 503, retryAfter: 5 })
  broker.opening = true
  t.match((await open(resume)).transport.commands, ['$welcome', '$joined'])
})

t.test('a commit that throws is nacked for now, and what it had stored after all is answered by that', async t => {
  const { clock, broker, open } = build()
  const { transport } = await open()
  const say = async (id: number, cmd = 'say') => {
    transport.send({ channel: 'room', cmd, param: id, id })
    await clock.advance(0)
    return transport.frames.at(-1)
  }
  broker.committing = 'not'
  t.match(await say(1), { cmd: '$nack', id: 1, param: { code: 'unavailable', retry: true } })
  broker.committing = 'well'
  t.match(await say(1), { cmd: '$ack', id: 1, param: { position: { offset: 1 } } })
  t.match(
    await say(2, 'odd'),
    { cmd: '$nack', id: 2, param: { code: 'internal-error' } },
    'a function has no JSON form'
  )
  broker.committing = 'unheard'
  t.match(await say(3), { cmd: '$nack', id: 3, param: { code: 'unavailable', retry: true } })
  transport.send({ channel: 'room', cmd: '$leave', ref: 1 })
  await clock.advance(0)
  t.match(
    await say(3),
    { cmd: '$ack', id: 3, param: { position: { offset: 2 } } },
    'though it may not be sent any more'
  )
})

t.test('a page of history that holds nothing for its reader is read on', async t => {
  const { clock, service, open } = build()
  const { transport } = await open()
  const log = { entries: 10, ageMs: 1_000, bytes: 10_000 }
  for (const except of [[], ['u:ann'], ['u:ann']]) {
    const text = '{"channel":"room","cmd":"said"}'
    void service.publisher.store({ channel: 'room', text, log, except })
  }
  await clock.advance(0)
  transport.send({ channel: 'room', cmd: '$history', ref: 1, param: { limit: 1 } })
  await clock.advance(0)
  const { param } = transport.frames.at(-1) as { param: any }
  t.strictSame([param.reply.messages.length, param.reply.messages[0].offset, param.reply.complete], [1, 1, true])
})

t.test('a feed asks again where the store threw while nothing waited', async t => {
  const clock = new ManualClock()
  const head = { epoch: 'e', offset: 0, tag: '' }
  const entry = { offset: 1, tag: 't', prev: '', text: '{}', except: [] }
  let failing = true
  const failed: unknown[] = []
  const seen: number[] = []
  const broker = {
    subscribe: () => head,
    read: () => {
      if (failing) throw new Error('no')
      return { kind: 'page', entries: [entry], head: { ...head, offset: 1, tag: 't' }, complete: true }
    }
  }
  const sink = {
    entry: ({ offset }: { offset: number }) => void seen.push(offset),
    gap: noop,
    failed: (e: unknown) => void failed.push(e)
  }
  const feed = new Feed('room', broker as never, clock, sink)
  await feed.start()
  const reached = feed.reach({ epoch: 'e', offset: 1, tag: 't' })
  await clock.advance(1_000)
  t.ok(failed.length > 0)
  failing = false
  await clock.advance(1_000)
  await reached
  t.strictSame(seen, [1])
})

t.test('what has ended is told so at once, and what pauses goes on', async t => {
  const { clock, service, open } = build()
  const { connection } = await open()
  connection.close(1000)
  let told = false
  connection.whenEnded(() => {
    told = true
  })
  t.ok(told)
  const channel = new Channel('x', null, { clock, turn: new Turn(clock), broker: service.parts.broker, failed: noop })
  const pause = channel.pause(5)
  await clock.advance(5)
  await pause
  const socket = Object.assign(new EventEmitter(), { writableLength: 1, destroyed: false, writable: false })
  const ws = Object.assign(new EventEmitter(), { protocol: '', pause: noop, resume: noop })
  let drained = false
  new WebSocketTransport(ws as never, socket as never).whenDrained(() => {
    drained = true
  })
  socket.emit('close')
  t.ok(drained)
})

t.test('an answer is kept for five minutes, and no more of them than may be', async t => {
  const all = new AllAnswers(0)
  const answers = new Answers(all)
  const answer = (id: number, text: string) => new Answer('x', id, text, false)
  answers.add(answer(1, 'a'), 0)
  answers.add(answer(2, 'b'), 300_001)
  t.strictSame([answers.get(1), answers.get(2)?.text], [undefined, 'b'])
  answers.add(answer(3, 'x'.repeat(4_194_305)), 300_001)
  t.strictSame([answers.get(2), answers.get(3)], [undefined, undefined], 'and within a bound of characters')
  t.equal(all.characters, 0)
})

t.test(
  'all sessions together keep answers within a bound, and what one forgets, or is too old, makes room',
  async t => {
    const all = new AllAnswers(10_000)
    const [ann, bob] = [new Answers(all), new Answers(all)]
    const answer = (id: number, length: number) => new Answer('x', id, 'x'.repeat(length), true)
    ann.add(answer(1, 4_800), 0)
    bob.add(answer(1, 4_800), 1)
    t.ok(ann.get(1) !== undefined && bob.get(1) !== undefined)
    bob.add(answer(2, 10), 2)
    t.strictSame([ann.get(1), bob.get(1)?.text.length], [undefined, 4_800], 'the oldest goes, whosesoever it is')
    bob.clear()
    t.equal(all.characters, 0)
    ann.add(answer(2, 100), 3)
    bob.add(answer(3, 100), 300_004)
    ann.add(answer(3, 20_000), 300_004)
    t.strictSame(
      [ann.get(3), bob.get(3), all.characters],
      [undefined, undefined, 0],
      'one that is too large for all is not kept'
    )
    t.equal(ann.get(2), undefined, 'who sends nothing more keeps nothing for longer than five minutes either')
  }
)
