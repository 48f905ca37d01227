import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fastify } from 'fastify'
import t from 'tap'
import { command, defineChannel, Type } from '../../lib/protocol/index.ts'
import type { ServerFrames } from '../../lib/protocol/system.ts'
import { NACK_CODES, SUBPROTOCOL } from '../../lib/protocol/system.ts'
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

/** An app where one signs in by POST, and a client of a stranger in it. */
async function meet(t: Teardown, heartbeatMs = 25_000, port = 0) {
  const app = fastify()
  await app.register(channels, { cookie: { secret: 'x'.repeat(32) }, heartbeatMs })
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
  app.get(
    '/ws/connect',
    act('connect', async (app, ps) => {
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
  return { app, rooms, url, enter }
}

t.test('the stranger is short, and knows nothing of this package', async t => {
  t.ok(stranger.trimEnd().split('\n').length <= 80, 'at most 80 lines')
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
  const { app, enter } = await meet(t, 100)
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
  await meet(t, 25_000, Number(new URL(url).port))
  await until(() => ann.joined.has('lobby'))
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
  for (const name of [...Object.keys(frames), '$join', '$leave', '$pong', SUBPROTOCOL]) t.match(page.text, name, name)
  const named = [...page.text.matchAll(/"code": "([a-z-]+)"/g)].map(match => match[1]!)
  for (const code of named) t.ok(Object.hasOwn(NACK_CODES, code), code)
  const fields = new Set(['channel', 'via', 'cmd', 'param', 'from', 'id', 'ref'])
  for (const { code, language, line } of blocksOf(page).filter(({ language }) => language === 'json')) {
    const value = JSON.parse(code)
    for (const frame of Array.isArray(value) ? value : [value]) {
      if (frame.count !== undefined) continue
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
