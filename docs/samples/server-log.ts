import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { listen, until, WebSocket } from './support/node.js'

const app = fastify()
await app.register(channels, { profile: () => ({ id: 'ann', name: 'Ann' }) })

// #region log
import { command, defineChannel, ephemeral, Type } from 'fastify-channels/protocol'

const Line = Type.Object({ text: Type.String({ minLength: 1, maxLength: 4000 }) })
const journal = defineChannel('journal-:name', {
  events: { written: Line, typing: ephemeral(Type.Object({ name: Type.String() })) },
  commands: { write: command(Line) }
})

const journals = app.sockets.serve(journal, {
  log: { entries: 500, ageMs: 60 * 60 * 1000 },
  access: ({ profile }) => profile !== null,
  commands: { write: (param, context) => context.publish({ cmd: 'written', param }) }
})
// #endregion
app.get(
  '/ws/connect',
  act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'journal-a')))
)
const url = await listen(app)
// #region position
const { position } = await journals.broadcast({ name: 'a' }, { cmd: 'written', param: { text: 'Begun' } })
// { epoch: 'Tcbz2G_8UpDE', offset: 1, tag: 'QvxLFFCQ' }; null in a channel without a log, and for an ephemeral event
// #endregion
assert.equal(position?.offset, 1)
const none = await journals.broadcast({ name: 'a' }, { cmd: 'typing', param: { name: 'Ann' } })
assert.equal(none.position, null)

// A client that knows the protocol and nothing else: it says something, asks for what was before, and is cut off.
interface Frame {
  channel?: string
  cmd: string
  param: any
}
const dial = (...resume: string[]) => {
  const frames: Frame[] = []
  const ws = new WebSocket(`${url}/ws/connect`, ['channels.v1', ...resume])
  ws.on('message', data => frames.push(JSON.parse(String(data))))
  const next = async (name: string) => {
    const find = () => frames.find(({ cmd, channel = 'journal-a' }) => cmd === name && channel === 'journal-a')
    await until(find)
    return find()!.param
  }
  return { ws, frames, next }
}
const first = dial()
const { session } = await first.next('$welcome')
assert.deepEqual((await first.next('$joined')).position, position)
first.ws.send(JSON.stringify({ channel: 'journal-a', cmd: 'write', id: 1, param: { text: 'Hello' } }))
const { position: mine, stored } = await first.next('$ack')
assert.equal(stored, 'memory')
first.ws.terminate()
await journals.broadcast({ name: 'a' }, { cmd: 'written', param: { text: 'While you were away' } })

const p = { 'journal-a': [mine.epoch, mine.offset, mine.tag] }
const again = dial(`resume.${Buffer.from(JSON.stringify({ s: session, n: 1, p })).toString('base64url')}`)
assert.equal((await again.next('$welcome')).resumed, true)
assert.deepEqual((await again.next('$joined')).outcome, { kind: 'recovered', from: 2, to: 3 })
assert.deepEqual(await again.next('written'), { text: 'While you were away' })
again.ws.send(JSON.stringify({ channel: 'journal-a', cmd: '$history', ref: 1, param: { limit: 10 } }))
const { reply } = await again.next('$ack')
assert.deepEqual(
  reply.messages.map(({ param }: Frame) => param.text),
  ['Begun', 'Hello', 'While you were away']
)
again.ws.close()
await app.close()
