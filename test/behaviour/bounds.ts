import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Broker, BrokerFactory, ReadFrom } from '../../lib/broker/broker.ts'
import { memory } from '../../lib/broker/memory.ts'
import { command, defineChannel, ephemeral, Type } from '../../lib/protocol/index.ts'
import { createNet } from '../kit/index.ts'

const Anything = Type.Any()
const room = (name: string) =>
  defineChannel(`${name}-:n`, {
    events: { said: Anything, typing: ephemeral(Anything) },
    commands: { ask: command(Anything, { reply: Type.Object({ secret: Type.Optional(Type.String()) }) }) }
  })

type Frame = { channel?: string; cmd: string; id?: number; ref?: number; param: any }

/** A link that keeps what it hears, on a net of one node. */
async function linked(setup: (app: FastifyInstance) => unknown, broker?: BrokerFactory) {
  const net = await createNet({ seed: 1, setup, ...(broker === undefined ? {} : { broker }) })
  const ws = net.dial('/ws/connect', { profile: { id: 'ada' } })
  const frames: Frame[] = []
  ws.onmessage = ({ data }: { data: unknown }) => void frames.push(JSON.parse(String(data)))
  await net.advance(100)
  const send = async (frame: object): Promise<Frame[]> => {
    const before = frames.length
    ws.send(JSON.stringify(frame))
    await net.advance(100)
    return frames.slice(before)
  }
  return { net, sockets: net.node().app.sockets, frames, send }
}

for (const log of [false, true]) {
  const title = log ? 'by the broker' : 'by the node'
  t.test(`an answer kept ${title} is that of the command’s own channel, whichever a copy names`, async t => {
    let finish = (): void => {}
    const { net, sockets, send } = await linked(app => {
      const commands = {
        ask: async (_param: unknown, { publish }: { publish: (event: { cmd: 'said'; param: unknown }) => void }) => {
          await new Promise<void>(resolve => {
            finish = resolve
          })
          if (log) publish({ cmd: 'said', param: 1 })
          return { secret: 'of the first' }
        }
      }
      app.sockets.serve(room('first'), { access: () => true, log, commands })
      app.sockets.serve(room('second'), { access: () => true, log, commands: { ask: () => ({}) } })
    })
    t.teardown(() => net.close())
    await send({ channel: 'first-1', cmd: '$join', ref: 1 })
    await send({ channel: 'second-1', cmd: '$join', ref: 2 })
    await send({ channel: 'first-1', cmd: 'ask', id: 1, param: {} })
    const revoking = sockets.revoke('ada', 'first-1')
    await net.settle(revoking)
    finish()
    await net.advance(100)
    for (const channel of ['first-1', 'second-1', 'nowhere']) {
      const [answer] = await send({ channel, cmd: 'ask', id: 1, param: {} })
      t.match(answer, { channel: 'first-1', cmd: '$ack', id: 1 }, channel)
      t.equal(answer?.param.reply, undefined, 'without the reply, which is for members')
    }
  })
}

t.test('what is kept nowhere waits for a store within a bound, and what is over is counted', async t => {
  let hang: Array<() => void> | null = null
  const slow: BrokerFactory = context => {
    const broker = memory()(context) as Broker
    const commit = broker.commit.bind(broker)
    broker.commit = step => {
      const waiting = hang
      return waiting === null
        ? commit(step)
        : new Promise<void>(resolve => void waiting.push(resolve)).then(() => commit(step))
    }
    return broker
  }
  const { net, sockets, frames, send } = await linked(
    app => app.sockets.serve(room('first'), { access: () => true, log: true, commands: { ask: () => ({}) } }),
    slow
  )
  t.teardown(() => net.close())
  hang = []
  const said = sockets.broadcast('first-1', { cmd: 'said', param: 'kept' })
  for (let n = 0; n < 10; n++) void sockets.broadcast('first-1', { cmd: 'typing', param: n })
  t.equal(sockets.stats().refusals['ephemeral-dropped'], undefined, 'for nobody nothing waits')
  await send({ channel: 'first-1', cmd: '$join', ref: 1 })
  for (let n = 0; n < 1_030; n++) void sockets.broadcast('first-1', { cmd: 'typing', param: n })
  void sockets.broadcast('first-1', { cmd: 'typing', param: 'x'.repeat(1_000) })
  t.equal(sockets.stats().refusals['ephemeral-dropped'], 7)
  for (const go of hang) go()
  await net.settle(said)
  await net.advance(100)
  const heard = frames.filter(({ cmd }) => cmd === 'said' || cmd === 'typing').map(({ param }) => param)
  t.strictSame(heard, ['kept', ...Array.from({ length: 1_024 }, (_, n) => n)])
})

t.test(
  'history that begins with what its reader is excepted from costs few readings, and holds no more than was asked',
  async t => {
    const reads: ReadFrom[] = []
    const counting: BrokerFactory = context => {
      const broker = memory()(context) as Broker
      const read = broker.read.bind(broker)
      broker.read = (channel, from, limits) => {
        reads.push(from)
        return read(channel, from, limits)
      }
      return broker
    }
    const { net, sockets, frames, send } = await linked(
      app =>
        app.sockets.serve(room('first'), {
          access: () => true,
          log: { entries: 5_000 },
          commands: { ask: () => ({}) }
        }),
      counting
    )
    t.teardown(() => net.close())
    const publish = async (from: number, to: number, except?: { user: string }): Promise<void> => {
      for (let n = from; n < to; n++) {
        const storing = sockets.broadcast('first-1', { cmd: 'said', param: n }, except === undefined ? {} : { except })
        await net.settle(storing)
      }
    }
    await publish(0, 5)
    await publish(5, 905, { user: 'ada' })
    await send({ channel: 'first-1', cmd: '$join', ref: 1 })
    reads.length = 0
    const pages: unknown[] = []
    const page = async (param: object): Promise<any> => {
      const [answer] = (await send({ channel: 'first-1', cmd: '$history', ref: 9, param })).slice(-1)
      const { messages, complete } = answer!.param.reply
      pages.push([messages.map((message: Frame) => message.param), complete])
      return messages
    }
    const [newest] = await page({ limit: 1 })
    t.ok(reads.length <= 4, `${reads.length} readings for 900 entries that are none of its own`)
    const { epoch } = frames.find(({ channel, cmd }) => channel === 'first-1' && cmd === '$joined')!.param.position
    const at = ({ offset, tag }: any) => ({ epoch, offset, tag })
    await page({ limit: 3, before: at(newest) })
    await page({ limit: 9, before: at(newest) })
    t.strictSame(pages, [
      [[4], false],
      [[1, 2, 3], false],
      [[0, 1, 2, 3], true]
    ])
  }
)
