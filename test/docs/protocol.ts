import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { fastify } from 'fastify'
import t from 'tap'
import { command, defineChannel, ephemeral, Type } from '../../lib/protocol/index.ts'
import type { GapReason } from '../../lib/protocol/position.ts'
import type { ServerFrames } from '../../lib/protocol/system.ts'
import { CLIENT_COMMANDS, NACK_CODES, SUBPROTOCOL } from '../../lib/protocol/system.ts'
import type { ChannelsOptions } from '../../plugins/index.ts'
import { act, channels, forbidden, unauthorized } from '../../plugins/index.ts'
import { blocksOf, readPages } from '../fixtures/docs.ts'
import type { Teardown } from '../fixtures/server.ts'
import { login, Stranger } from '../fixtures/stranger.ts'

const page = readPages().find(({ path }) => path === 'docs/protocol.md')!
const stranger = readFileSync(join(import.meta.dirname, '../fixtures/stranger.ts'), 'utf8')

const Said = Type.Object({ text: Type.String({ minLength: 1 }) })
const room = defineChannel('chat-room-:room', {
  events: { said: Said },
  commands: { say: command(Said, { reply: Type.Object({ length: Type.Integer() }) }) }
})

/** Keeps its last five messages. */
const diary = defineChannel('diary-:name', {
  events: { said: Said, typing: ephemeral(Type.Object({})) },
  commands: { say: command(Said, { reply: Type.Object({ length: Type.Integer() }) }) }
})

/** An app where one signs in by POST, and a client of a stranger in it. */
async function meet(t: Teardown, { port = 0, ...options }: ChannelsOptions & { port?: number } = {}) {
  const app = fastify()
  await app.register(channels, { cookie: { secret: 'x'.repeat(32) }, ...options })
  app.post('/login', async (request, reply) => {
    app.sockets.signIn(reply, request.body as { id: string })
    return {}
  })
  const rooms = app.sockets.serve(room, {
    access({ params }) {
      if (params.room === 'staff') throw forbidden('Staff only')
      return true
    },
    presence: profile => ({ name: profile.id.toUpperCase() }),
    commands: {
      say(param, context) {
        context.publish({ cmd: 'said', param })
        return { length: param.text.length }
      }
    }
  })
  /** A test may hold a command back after its handler has run. */
  const gate: { open: Promise<unknown>; runs: string[] } = { open: Promise.resolve(), runs: [] }
  const diaries = app.sockets.serve(diary, {
    log: { entries: 5 },
    access: () => true,
    limits: { messagesPerSecond: 10 },
    commands: {
      async say(param, context) {
        gate.runs.push(param.text)
        context.publish({ cmd: 'said', param })
        await gate.open
        return { length: param.text.length }
      }
    }
  })
  /** Nor may anybody come in before it is opened. */
  const door: { open: Promise<unknown> } = { open: Promise.resolve() }
  app.get(
    '/ws/connect',
    act('connect', async (app, ps) => {
      await door.open
      if (ps.profile === null) throw unauthorized()
      await app.sockets.upgrade(ps, 'lobby')
    })
  )
  const url = await app.listen({ port, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const enter = async (id: string) => {
    const client = new Stranger(`${url.replace('http', 'ws')}/ws/connect`, await login(`${url}/login`, { id }))
    t.teardown(client.close)
    await until(() => client.joined.has(`user-${id}`))
    return client
  }
  return { app, rooms, diaries, gate, door, url, enter }
}

t.test('the stranger is short, and knows nothing of this package', async t => {
  t.ok(stranger.trimEnd().split('\n').length <= 180, 'at most 180 lines')
  t.strictSame(
    [...stranger.matchAll(/from '([^']+)'/g)].map(match => match[1]),
    ['ws']
  )
})

t.test('a client written from the protocol alone signs in, joins, sends, hears and sees who is there', async t => {
  const { app, rooms, enter } = await meet(t)
  const [ann, bob] = [await enter('ann'), await enter('bob')]
  t.strictSame([...ann.joined], ['lobby', 'user-ann'])
  t.match(await ann.join('chat-room-42'), { by: 'client', outcome: { kind: 'fresh' } })
  await bob.join('chat-room-42')
  await until(() => ann.present.get('chat-room-42')?.size === 2)
  t.strictSame(
    [...ann.present.get('chat-room-42')!],
    [
      ['ann', { name: 'ANN' }],
      ['bob', { name: 'BOB' }]
    ]
  )

  t.strictSame(await ann.send('chat-room-42', 'say', { text: 'Hello' }), { reply: { length: 5 }, stored: 'none' })
  t.strictSame(ann.heard, [{ channel: 'chat-room-42', cmd: 'said', param: { text: 'Hello' }, from: 'ann' }])
  await t.rejects(ann.send('chat-room-42', 'say', { text: '' }), { code: 'invalid-param', retry: false })
  await t.rejects(ann.send('chat-room-42', 'shout', {}), { code: 'unknown-command' })
  await t.rejects(ann.send('chat-room-7', 'say', { text: 'Hello' }), { code: 'not-joined' })
  await t.rejects(ann.join('chat-room-staff'), { code: 'forbidden', message: 'Staff only' })
  await t.rejects(ann.join('nowhere'), { code: 'unknown-channel' })

  t.strictSame(await bob.leave('chat-room-42'), { reason: 'client' })
  await until(() => ann.present.get('chat-room-42')?.size === 1)
  await rooms.broadcast({ room: '42' }, { cmd: 'said', param: { text: 'Bye' } })
  await app.sockets.sendToUser('ann', { channel: 'system', cmd: 'update' })
  await until(() => ann.heard.length === 3)
  t.match(ann.heard[2], { channel: 'system', via: 'user-ann', cmd: 'update' })
  t.equal(bob.heard.length, 1)
})

t.test('it answers pings, and stays', async t => {
  const { app, enter } = await meet(t, { heartbeatMs: 100 })
  const ann = await enter('ann')
  await until(() => ann.pongs >= 3)
  t.equal(app.sockets.connections().length, 1)
  t.strictSame(ann.closes, [])
})

t.test('it comes back after the codes that say so, joins again, and stays away after the others', async t => {
  const { app, enter } = await meet(t)
  const ann = await enter('ann')
  await ann.join('chat-room-42')
  for (const code of [4100, 1011, 4000]) {
    await app.sockets.disconnect({ user: 'ann' }, code)
    await until(() => ann.closes.at(-1) === code && ann.joined.has('chat-room-42'))
    t.match(await ann.send('chat-room-42', 'say', { text: `after ${code}` }), { stored: 'none' })
  }
  await app.sockets.closeRequest({ user: 'ann' })
  await until(() => ann.ended)
  t.equal(ann.closes.at(-1), 4500)
})

t.test('it comes back to a server that was started again', async t => {
  const { app, enter, url } = await meet(t)
  const ann = await enter('ann')
  await app.close()
  await until(() => ann.closes.length > 0)
  t.equal(ann.closes[0], 1012)
  await meet(t, { port: Number(new URL(url).port) })
  await until(() => ann.joined.has('lobby'))
})

t.test('it comes back with its positions, and hears what it missed, once and in order', async t => {
  const { app, diaries, door, enter } = await meet(t)
  const [ann, bob] = [await enter('ann'), await enter('bob')]
  t.match(await ann.join('diary-a'), { position: { offset: 0, tag: '' }, outcome: { kind: 'fresh' } })
  await bob.join('diary-a')
  const { position, stored } = await bob.send('diary-a', 'say', { text: 'one' })
  t.equal(stored, 'memory')
  await diaries.broadcast({ name: 'a' }, { cmd: 'typing', param: {} })
  await diaries.broadcast({ name: 'a' }, { cmd: 'said', param: { text: 'not for Ann' } }, { except: { user: 'ann' } })
  await until(() => ann.positions.get('diary-a')?.offset === 2)
  t.strictSame(
    ann.heard.map(({ cmd, offset, tag }) => [cmd, offset, tag]),
    [
      ['said', 1, position.tag],
      ['typing', undefined, undefined]
    ]
  )

  let letIn = (): void => {}
  door.open = new Promise<void>(resolve => {
    letIn = resolve
  })
  cut(app, 'ann')
  await until(() => ann.closes.length === 1)
  await bob.send('diary-a', 'say', { text: 'two' })
  await diaries.broadcast({ name: 'a' }, { cmd: 'said', param: { text: 'nor that' } }, { except: { user: 'ann' } })
  await bob.send('diary-a', 'say', { text: 'three' })
  letIn()
  await until(() => ann.positions.get('diary-a')?.offset === 5)
  t.strictSame(ann.outcomes.at(-1), { channel: 'diary-a', kind: 'recovered', from: 2, to: 5 })
  t.strictSame(texts(ann), ['one', 'two', 'three'])
  t.strictSame(texts(bob), ['one', 'not for Ann', 'two', 'nor that', 'three'])

  const page = await ann.history('diary-a', { limit: 3 })
  t.strictSame(page.reply.messages, [ann.heard[2], ann.heard[3]], 'the same frames, without what is not for it')
  t.equal(page.reply.complete, false)
  const { reply } = await ann.history('diary-a', {
    before: { ...position, offset: 3, tag: ann.heard[2]!.tag },
    limit: 3
  })
  t.match(reply, { messages: [{ offset: 1 }], complete: true, position: { offset: 5 } })
  await t.rejects(ann.history('diary-a', { after: { ...position, tag: 'x' }, limit: 3 }), {
    code: 'unknown-position',
    message: 'rewound'
  })
  await t.rejects(ann.history('user-ann', { limit: 3 }), { code: 'forbidden' })
  await t.rejects(ann.history('diary-a', { limit: 101 }), { code: 'invalid-param' })
})

t.test('what is not kept any more is a gap, also where the server was started again with an empty store', async t => {
  const { app, diaries, enter, url } = await meet(t)
  const ann = await enter('ann')
  await ann.join('diary-a')
  cut(app, 'ann')
  await until(() => ann.closes.length === 1)
  for (let i = 1; i <= 8; i++) await diaries.broadcast({ name: 'a' }, { cmd: 'said', param: { text: `${i}` } })
  await until(() => ann.joined.has('diary-a'))
  t.strictSame(ann.outcomes.at(-1), { channel: 'diary-a', kind: 'gap', from: 0, to: 8, reason: 'trimmed' })
  await diaries.broadcast({ name: 'a' }, { cmd: 'said', param: { text: '9' } })
  await until(() => ann.heard.length === 1)
  t.match(ann.heard, [{ offset: 9, param: { text: '9' } }])

  await app.close()
  const again = await meet(t, { port: Number(new URL(url).port) })
  await until(() => ann.joined.has('diary-a'))
  t.strictSame(ann.outcomes.at(-1), { channel: 'diary-a', kind: 'gap', to: 0, reason: 'epoch-lost' })
  await again.diaries.broadcast({ name: 'a' }, { cmd: 'said', param: { text: '10' } })
  await until(() => ann.heard.length === 2)
})

t.test('a command whose answer was lost is sent again, and takes effect once', async t => {
  const { app, gate, enter } = await meet(t)
  const ann = await enter('ann')
  const { session } = ann
  await ann.join('diary-a')
  let open = () => {}
  gate.open = new Promise<void>(resolve => {
    open = resolve
  })
  const said = [ann.send('diary-a', 'say', { text: 'one' }), ann.send('diary-a', 'say', { text: 'two' })]
  await until(() => gate.runs.length === 1)
  cut(app, 'ann')
  await until(() => ann.closes.length === 1)
  open()
  t.match(await Promise.all(said), [{ reply: { length: 3 }, position: { offset: 1 } }, { position: { offset: 2 } }])
  t.strictSame(gate.runs, ['one', 'two'], 'each ran once')
  t.equal(ann.session, session)
  t.strictSame(texts(ann), ['one', 'two'])
})

t.test('what is refused for the moment comes again, and the order stays', async t => {
  const { enter } = await meet(t)
  const ann = await enter('ann')
  await ann.join('diary-a')
  await ann.join('diary-b')
  const wanted = Array.from({ length: 14 }, (_, i) => `${i + 1}`)
  const sent = wanted.map(text => ann.send('diary-a', 'say', { text }))
  const other = ann.send('diary-b', 'say', { text: 'elsewhere' })
  t.match(await other, { stored: 'memory' }, 'another channel is not held up')
  await Promise.all(sent)
  t.strictSame(
    texts(ann).filter(text => text !== 'elsewhere'),
    wanted
  )
})

t.test('what is given up while it waits never takes effect, and holds nothing up', async t => {
  const { gate, enter } = await meet(t)
  const ann = await enter('ann')
  await ann.join('diary-a')
  const giveUp = new AbortController()
  const sent = Array.from({ length: 12 }, (_, i) =>
    ann.send('diary-a', 'say', { text: `${i + 1}` }, i === 11 ? giveUp.signal : undefined)
  )
  // Ten at once are allowed; those after them are refused for the moment.
  await sent[9]
  giveUp.abort()
  await t.rejects(sent[11]!, { code: 'voided' })
  await ann.send('diary-a', 'say', { text: '13' })
  t.strictSame(gate.runs, ['1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '13'])
})

t.test('a session belongs to one profile, and to the highest dial', async t => {
  const { url, enter } = await meet(t)
  const ann = await enter('ann')
  const { WebSocket } = await import('ws')
  const dial = async (id: string, value: unknown) => {
    const text = typeof value === 'string' ? value : Buffer.from(JSON.stringify(value)).toString('base64url')
    const headers = { cookie: await login(`${url}/login`, { id }), origin: url }
    const ws = new WebSocket(`${url.replace('http', 'ws')}/ws/connect`, ['channels.v1', `resume.${text}`], { headers })
    ws.on('error', () => {})
    t.teardown(() => ws.terminate())
    return new Promise<any>(resolve => {
      ws.once('message', data => resolve(JSON.parse(String(data)).param))
      ws.once('close', code => resolve(code))
      ws.once('unexpected-response', (_request, { statusCode }) => resolve(statusCode))
    })
  }
  const stolen = await dial('bob', { s: ann.session, n: 7, p: {} })
  t.equal(stolen.resumed, false)
  t.not(stolen.session, ann.session)
  t.equal(await dial('ann', { s: ann.session, n: 0, p: {} }), 4501, 'a dial that is not higher')
  t.equal(ann.ended, false)
  t.match(await dial('ann', { s: ann.session, n: 1, p: {} }), { session: ann.session, resumed: true })
  await until(() => ann.ended)
  t.equal(ann.closes.at(-1), 4501)
  for (const malformed of ['x', { n: -1, p: {} }, { n: 1 }, { n: 1, p: { lobby: ['a', 1] } }, 'A'.repeat(2042)]) {
    t.equal(await dial('ann', malformed), 400)
  }
})

t.test('without a cookie it is refused, and without an origin as well', async t => {
  const { url, enter } = await meet(t)
  const { WebSocket } = await import('ws')
  const answer = async (headers: Record<string, string>) => {
    const ws = new WebSocket(`${url.replace('http', 'ws')}/ws/connect`, 'channels.v1', { headers })
    const [, response] = await once(ws, 'unexpected-response')
    return response.statusCode
  }
  t.equal(await answer({}), 401)
  t.equal(await answer({ cookie: await login(`${url}/login`, { id: 'ann' }) }), 403)
  await enter('ann')
})

t.test('the page names every frame, field and code of the wire, and shows no frame that is none', async t => {
  const frames: Record<keyof ServerFrames, true> = {
    $welcome: true,
    $joined: true,
    $left: true,
    $ack: true,
    $nack: true,
    $presence: true,
    $ping: true,
    $gap: true,
    $skip: true,
    $closing: true
  }
  for (const name of [...Object.keys(frames), ...CLIENT_COMMANDS, SUBPROTOCOL]) t.match(page.text, name, name)
  const reasons: Record<GapReason, true> = {
    trimmed: true,
    'epoch-lost': true,
    rewound: true,
    slow: true,
    'over-limit': true,
    'store-error': true
  }
  for (const reason of Object.keys(reasons)) t.match(page.text, `| \`${reason}\` |`, reason)
  const [, resume] = /channels\.v1, resume\.(\w+)/.exec(page.text)!
  t.match(Buffer.from(resume!, 'base64url').toString(), '{"s":"m3ZrQk0nT9C1xUo2v8p5Lw","n":1,"p":{')
  const named = [...page.text.matchAll(/"code": "([a-z-]+)"/g)].map(match => match[1]!)
  for (const code of named) t.ok(Object.hasOwn(NACK_CODES, code), code)
  const fields = new Set(['channel', 'via', 'cmd', 'param', 'from', 'id', 'ref', 'offset', 'tag'])
  for (const { code, language, line } of blocksOf(page).filter(({ language }) => language === 'json')) {
    const value = JSON.parse(code)
    for (const frame of Array.isArray(value) ? value : [value]) {
      // The state of a presence, a position, and what a client comes back with are parts of frames.
      if (frame.count !== undefined || frame.epoch !== undefined || frame.n !== undefined) continue
      t.equal(typeof frame.cmd, 'string', `${language}:${line} is a frame`)
      t.strictSame(
        Object.keys(frame).filter(key => !fields.has(key)),
        [],
        `${line}: fields`
      )
    }
  }
})

async function until(condition: () => unknown): Promise<void> {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 5))
}

/** Ends a user's links without a goodbye. */
function cut(app: FastifyInstance, id: string): void {
  for (const { profile, transport } of app.sockets.connections()) if (profile?.id === id) transport.destroy()
}

function texts({ heard }: Stranger): string[] {
  return heard.filter(({ cmd }) => cmd === 'said').map(({ param }) => param.text)
}
