import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { ChatRoomsOptions } from '../../controllers/index.ts'
import { chatRooms, connect as connectController } from '../../controllers/index.ts'
import { systemClock } from '../../lib/clock.ts'
import { forbidden } from '../../plugins/index.ts'
import type { RawClient, RawOptions } from '../fixtures/raw-client.ts'
import { connect, refused } from '../fixtures/raw-client.ts'
import { exchange, upgradeRequest } from '../fixtures/raw-socket.ts'
import type { ServerOptions, Teardown } from '../fixtures/server.ts'
import { as, serve } from '../fixtures/server.ts'
import { nothingLeft } from '../fixtures/until.ts'

const WALL = Date.UTC(2026, 0, 2, 3, 4, 5, 6)
const timestamp = '2026-01-02T03:04:05.006Z'

interface Asked {
  readonly user: string | null
  readonly room: string
  readonly via: string
}

/** The controller and a socket for `$join`; everybody may enter but `staff`, and whoever is asked for is noted. */
async function chatServer(t: Teardown, options: Partial<ChatRoomsOptions> = {}, server: ServerOptions = {}) {
  const asked: Asked[] = []
  const started = await serve(t, { clock: { ...systemClock, wall: () => WALL }, ...server }, async app => {
    await app.register(connectController, { prefix: '/ws', requireProfile: false })
    await app.register(chatRooms, {
      prefix: '/ws',
      hasRoomAccess: (profile, room, { via }) => {
        asked.push({ user: profile.id, room, via })
        return room !== 'staff'
      },
      // What is kept has a place in its frames; a test of its own is about that.
      log: false,
      ...options
    })
  })
  const enter = (user: string, room = '42', raw: RawOptions = {}): Promise<RawClient> =>
    connect(`${started.url}/ws/chat/${room}`, { ...as(user), ...raw })
  return { ...started, asked, enter }
}

/** All that a client has been told of, up to an event that was sent after it. */
async function heardUntil(app: FastifyInstance, client: RawClient, channel = 'chat-room-42'): Promise<string[]> {
  const param = { user_id: 'end', username: 'END', typing: true }
  await app.sockets.broadcast(channel, { cmd: 'typing', param })
  await client.next('typing')
  return client.received.map(({ cmd, param }) => {
    const { user_id } = (param ?? {}) as { user_id?: string }
    return user_id === undefined ? cmd : `${cmd} ${user_id}`
  })
}

t.test('without hasRoomAccess, with an unknown option or a wrong one it is not registered', async t => {
  const hasRoomAccess = () => true
  const attempts: ReadonlyArray<readonly [options: object, code: string, message: RegExp]> = [
    [{}, 'FST_CHANNELS_INVALID_OPTION', /hasRoomAccess.*a function.*undefined/],
    [{ hasRoomAccess: true }, 'FST_CHANNELS_INVALID_OPTION', /hasRoomAccess.*function.*true/],
    [{ hasRoomAccess, hasRoomAcess: 1 }, 'FST_CHANNELS_UNKNOWN_OPTION', /hasRoomAcess.*known are.*hasRoomAccess/],
    [{ hasRoomAccess, path: 'chat/:room' }, 'FST_CHANNELS_INVALID_OPTION', /begins with \//],
    [{ hasRoomAccess, validRoom: 'a+' }, 'FST_CHANNELS_INVALID_OPTION', /validRoom.*RegExp.*a\+/],
    [{ hasRoomAccess, textLength: 0 }, 'FST_CHANNELS_INVALID_OPTION', /textLength.*1 to 1000000/]
  ]
  for (const [options, code, message] of attempts) {
    const attempt = serve(t, {}, app => app.register(chatRooms, options as ChatRoomsOptions))
    await t.rejects(attempt, { code, message }, JSON.stringify(options))
  }
})

t.test('the room is joined below the prefix, with who it is in the metadata', async t => {
  const { app, asked, enter } = await chatServer(t)
  const ann = await enter('ann')
  t.match(await ann.next('$joined'), {
    channel: 'chat-room-42',
    param: { by: 'route', presence: { count: 1, members: [{ id: 'ann', info: { name: 'ANN' } }] } }
  })
  t.strictSame(app.sockets.connections()[0]?.metadata, { room_id: '42', user_id: 'ann', username: 'ANN' })
  t.strictSame(asked, [{ user: 'ann', room: '42', via: 'route' }])
  await ann.close()
  await nothingLeft(app)
})

t.test('who may not enter is told so before the handshake, and an ordinary GET gets the same answers', async t => {
  const { app, url, asked, enter } = await chatServer(t)
  const get = async (path: string, headers: Record<string, string> = {}) =>
    (await app.inject({ url: path, headers })).statusCode
  t.match(await refused(enter('ann', 'staff')), { statusCode: 403, body: { code: 'FST_CHANNELS_FORBIDDEN' } })
  t.match(await refused(connect(`${url}/ws/chat/42`)), { statusCode: 401, body: { code: 'FST_CHANNELS_UNAUTHORIZED' } })
  t.match(await refused(enter('ann', 'a%20b')), { statusCode: 400, body: { code: 'FST_CHANNELS_BAD_REQUEST' } })
  t.equal(await get('/ws/chat/staff', { 'x-user': 'ann' }), 403)
  t.equal(await get('/ws/chat/42'), 401)
  t.equal(await get('/ws/chat/a%20b', { 'x-user': 'ann' }), 400)
  t.equal(await get('/ws/chat/', { 'x-user': 'ann' }), 400)
  t.equal(await get('/ws/chat/42', { 'x-user': 'ann' }), 426)
  t.strictSame(
    asked.map(({ room }) => room),
    ['staff', 'staff', '42']
  )
  t.equal(app.sockets.stats().opened, 0)
})

t.test('no spelling of a malformed room id reaches a hook, or any room', async t => {
  const { app, url, asked } = await chatServer(t, { onJoin: () => void t.fail('joined') })
  const bad = [
    ...['%2F', '%2f', 'a%2Fb', '42%2F..%2Fstaff', '..', '...', '.', '%2e%2e', '%2E%2E%2Fstaff', '..%5Cstaff', '%5c'],
    ...['%0d%0a', '42%0d%0aX-Injected:%201', '42%0a', '%0a42', '42%0d', '%00', '42%00', '%00staff', '42%00staff'],
    ...[
      '%ff',
      '42%ff',
      '%c0%af',
      '%c0%ae',
      '%ed%a0%80',
      '%f4%90%80%80',
      '%e0%80%af',
      '%',
      '%4',
      '%zz',
      '42%',
      '%u0034'
    ],
    ...[
      '%2534',
      '%252F',
      '%25',
      '42%25',
      '%2500',
      '%20',
      '42%20',
      '%2042',
      '42+staff',
      '+',
      '%2B',
      '%09',
      '%0b',
      '%7f'
    ],
    ...[
      '%C3%A4',
      '%D0%B0',
      '%F0%9F%92%A9',
      '%EF%BC%94',
      '%E2%80%8B42',
      '42%E2%80%AE',
      '%CC%8142',
      '%EF%BB%BF42',
      '%C2%A0'
    ],
    ...[
      '42.staff',
      '42~',
      '42:staff',
      '42;staff',
      '42,43',
      '42@',
      '*',
      ':room',
      '{room}',
      '%3F42',
      '42%23',
      '$42',
      '(42)'
    ],
    ...["'42'", '%2242%22', '%3Cscript%3E', '%60id%60', '42%7Cstaff', '42%26x', '=42', '[42]', '%5E42', 'a'.repeat(65)],
    ...['a'.repeat(101), '9'.repeat(4096), '%41'.repeat(65), '\u00e4', '\xff']
  ]
  t.ok(bad.length > 60)
  const answers = await Promise.all(
    bad.map(async room => {
      const request = upgradeRequest(`/ws/chat/${room}`, { 'X-User': 'ann' })
      const answer = await exchange(url, Buffer.from(request, 'latin1'))
      return { room, status: answer?.status ?? 0 }
    })
  )
  // Over 100 characters Fastify itself answers, by its maxParamLength: 414, in older versions 404.
  const expected = (room: string) => (room.length > 100 ? [400, 404, 414] : [400])
  t.strictSame(
    answers.filter(({ room, status }) => !expected(room).includes(status)),
    []
  )
  const client = await connect(`${url}/ws/connect`, as('ann'))
  for (const room of bad) {
    const { cmd, param } = await client.request('$join', `chat-room-${room}`)
    t.equal(cmd, '$nack', room.slice(0, 80))
    t.match(param.code, /^(bad-request|unknown-channel)$/, room.slice(0, 80))
  }
  t.match(await client.request('$join', 'chat-room-a~b'), { param: { code: 'bad-request' } })
  t.match(await client.request('$join', 'chat-room-'), { param: { code: 'unknown-channel' } })
  t.strictSame(asked, [])
  t.strictSame(app.sockets.channels(), ['user-ann'])
})

t.test('an id that is percent-encoded for no reason is the same room as without', async t => {
  const { asked, enter } = await chatServer(t)
  const ann = await enter('ann', '%34%32')
  t.equal((await ann.next('$joined')).channel, 'chat-room-42')
  t.strictSame(asked, [{ user: 'ann', room: '42', via: 'route' }])
})

t.test('validRoom must match the whole id each time, whatever its flags, and the name must fit a channel', async t => {
  const { asked, enter } = await chatServer(t, { validRoom: /[a-z ä]+/gimy })
  for (const room of ['A%20b', 'A%20b', '%C3%A4']) {
    const client = await enter('ann', room)
    t.equal((await client.next('$joined')).channel, `chat-room-${room}`)
  }
  for (const room of ['a1', 'a%0Ab', `${'%C3%A4'.repeat(21)}`]) {
    t.match(await refused(enter('ann', room)), { statusCode: 400 }, room)
  }
  t.strictSame(
    asked.map(({ room }) => room),
    ['A b', 'A b', 'ä']
  )
})

t.test('another path may name the room in the query', async t => {
  const { url, enter } = await chatServer(t, { path: '/talk' })
  const ann = await connect(`${url}/ws/talk?room=42`, as('ann'))
  t.equal((await ann.next('$joined')).channel, 'chat-room-42')
  const twice = await refused(connect(`${url}/ws/talk?room=42&room=staff`, as('ann')))
  t.equal(twice.statusCode, 400)
  t.equal((await refused(connect(`${url}/ws/talk`, as('ann')))).statusCode, 400)
  t.equal((await refused(enter('ann'))).statusCode, 404)
})

t.test('by $join hasRoomAccess is asked in the same way, with the connection', async t => {
  let connection: unknown
  const { url, app } = await chatServer(t, {
    hasRoomAccess: async (profile, room, request) => {
      connection = request.connection
      t.match(request, { via: 'client', ip: '127.0.0.1', signal: { aborted: false } })
      if (room === 'secret') throw forbidden('Members only')
      return profile.id === 'ann' && room === '42'
    }
  })
  const ann = await connect(`${url}/ws/connect`, as('ann'))
  t.match(await ann.request('$join', 'chat-room-42'), { cmd: '$joined', param: { by: 'client' } })
  t.equal(connection, app.sockets.connections()[0])
  t.match(await ann.next('user-joined'), {
    channel: 'chat-room-42',
    param: { user_id: 'ann', username: 'ANN', timestamp }
  })
  t.match(await ann.request('$join', 'chat-room-43'), { cmd: '$nack', param: { code: 'forbidden', retry: false } })
  t.match(await ann.request('$join', 'chat-room-secret'), { param: { code: 'forbidden', message: 'Members only' } })
  const nobody = await connect(`${url}/ws/connect`)
  t.match(await nobody.request('$join', 'chat-room-42'), { cmd: '$nack', param: { code: 'unauthorized' } })
  t.match(await ann.request('$leave', 'chat-room-42'), { cmd: '$left', param: { reason: 'client' } })
  t.match(await ann.command('chat-room-42', 'chat-message', { text: 'gone' }), { param: { code: 'not-joined' } })
})

t.test('a user with two connections joins once and leaves once', async t => {
  const joins: boolean[] = []
  const leaves: boolean[] = []
  const { app, url, enter } = await chatServer(t, {
    onJoin: ({ first }) => void joins.push(first),
    onLeave: ({ last }) => void leaves.push(last)
  })
  const watcher = await enter('eve')
  const phone = await enter('ann')
  const laptop = await connect(`${url}/ws/connect`, as('ann'))
  await laptop.request('$join', 'chat-room-42')
  t.strictSame(await app.sockets.members('chat-room-42'), [
    { id: 'eve', info: { name: 'EVE' } },
    { id: 'ann', info: { name: 'ANN' } }
  ])
  await phone.close()
  await laptop.request('$leave', 'chat-room-42')
  t.match(await watcher.next('user-left'), { param: { user_id: 'ann', username: 'ANN', timestamp } })
  phone.ws.terminate()
  const heard = await heardUntil(app, watcher)
  t.strictSame(
    heard.filter(cmd => cmd.startsWith('user-')),
    ['user-joined eve', 'user-joined ann', 'user-left ann']
  )
  t.strictSame(joins, [true, true, false])
  t.strictSame(leaves, [false, true])
})

t.test('a link that is cut off is a leave as any other', async t => {
  const { app, enter } = await chatServer(t)
  const watcher = await enter('eve', '42', { v1: false })
  const ann = await enter('ann')
  await ann.next('user-joined')
  ann.ws.terminate()
  t.strictSame(await watcher.next('user-left'), {
    channel: 'chat-room-42',
    cmd: 'user-left',
    param: { user_id: 'ann', username: 'ANN', timestamp }
  })
  const heard = await heardUntil(app, watcher)
  t.strictSame(
    heard.filter(cmd => cmd.startsWith('user-')),
    ['user-joined eve', 'user-joined ann', 'user-left ann']
  )
  await watcher.close()
  await nothingLeft(app)
})

t.test('members are told who is there, by name', async t => {
  const { enter } = await chatServer(t, {}, { profile: ({ headers }) => ({ id: String(headers['x-user']) }) })
  const ann = await enter('ann')
  const plain = await enter('pat', '42', { v1: false })
  t.match(await ann.next('$presence'), { param: { joins: [{ id: 'ann', info: { name: 'ann' } }] } })
  t.match(await ann.next('$presence'), { param: { joins: [{ id: 'pat', info: { name: 'pat' } }], leaves: [] } })
  t.match(await ann.request('$presence', 'chat-room-42'), {
    param: {
      reply: {
        count: 2,
        members: [
          { id: 'ann', info: { name: 'ann' } },
          { id: 'pat', info: { name: 'pat' } }
        ]
      }
    }
  })
  await ann.close()
  t.match(await plain.next('online-update'), { param: { userID: 'pat', connected: true } })
  t.match(await plain.next('online-update'), { param: { userID: 'ann', connected: false } })
})

t.test('a message reaches all of the room, the sender too, and nobody outside', async t => {
  const { app, enter } = await chatServer(t)
  const ann = await enter('ann')
  const bob = await enter('bob')
  const outside = await enter('eve', '43')
  t.match(await ann.command('chat-room-42', 'chat-message', { text: 'Grüße 👋' }), {
    cmd: '$ack',
    param: { stored: 'none' }
  })
  const message = {
    channel: 'chat-room-42',
    cmd: 'chat-message',
    param: { user_id: 'ann', username: 'ANN', text: 'Grüße 👋', timestamp },
    from: 'ann'
  }
  t.strictSame(
    ann.received.filter(({ cmd }) => cmd === 'chat-message'),
    [message],
    'before its ack'
  )
  t.strictSame(await bob.next('chat-message'), message)
  t.notOk((await heardUntil(app, outside, 'chat-room-43')).includes('chat-message ann'))
  t.match(await ann.command('chat-room-43', 'chat-message', { text: 'hello' }), { param: { code: 'not-joined' } })
})

t.test('a plain client needs no id, may lay its JSON out as it likes, and is told of its mistakes', async t => {
  const { enter } = await chatServer(t)
  const ann = await enter('ann')
  const pat = await enter('pat', '42', { v1: false })
  const frame = { channel: 'chat-room-42', cmd: 'chat-message', param: { text: 'hello' } }
  pat.send(`\r\n${JSON.stringify(frame, null, 2)}\n`)
  const said = { channel: 'chat-room-42', cmd: 'chat-message', param: { user_id: 'pat', text: 'hello' }, from: 'pat' }
  t.match(await ann.next('chat-message'), said)
  t.match(await pat.next('chat-message'), said)
  pat.send({ cmd: 'chat-message', param: { text: 'the route is meant' } })
  t.match(await ann.next('chat-message'), { param: { text: 'the route is meant' } })
  for (const param of [null, undefined, 'hello', [], {}, { text: '' }, { text: null }, { text: 'a', user_id: 'ann' }]) {
    pat.send({ channel: 'chat-room-42', cmd: 'chat-message', param })
    t.match(await pat.next('error'), { channel: 'chat-room-42', param: { code: 'invalid-param' } })
  }
  pat.send({ channel: 'chat-room-42', cmd: 'user-joined', param: { user_id: 'ann' } })
  t.match(await pat.next('error'), { param: { code: 'unknown-command' } })
  t.notOk(pat.received.some(({ cmd }) => cmd.startsWith('$')))
})

t.test('a text has 1 to 4,000 characters, or as many as textLength says', async t => {
  const usual = await chatServer(t)
  const ann = await usual.enter('ann')
  const say = async (client: RawClient, length: number) => {
    const { cmd, param } = await client.command('chat-room-42', 'chat-message', { text: 'x'.repeat(length) })
    return cmd === '$ack' ? 'said' : param.code
  }
  t.equal(await say(ann, 0), 'invalid-param')
  t.equal(await say(ann, 4_000), 'said')
  t.equal(await say(ann, 4_001), 'invalid-param')
  const brief = await chatServer(t, { textLength: 5 })
  const bob = await brief.enter('bob')
  t.equal(await say(bob, 5), 'said')
  t.equal(await say(bob, 6), 'invalid-param')
  t.not(((await ann.received[0]) as any).param.contract, (bob.received[0] as any).param.contract)
})

t.test('typing is told to the others and not to the connection that sent it', async t => {
  const { app, enter } = await chatServer(t)
  const ann = await enter('ann')
  const laptop = await enter('ann')
  const bob = await enter('bob', '42', { v1: false })
  t.match(await ann.command('chat-room-42', 'typing', { typing: true }), { cmd: '$ack' })
  const typing = { channel: 'chat-room-42', cmd: 'typing', param: { user_id: 'ann', username: 'ANN', typing: true } }
  t.strictSame(await bob.next('typing'), { ...typing, from: 'ann' })
  t.match(await laptop.next('typing'), typing)
  t.notOk((await heardUntil(app, ann)).includes('typing ann'))
  t.match(await ann.command('chat-room-42', 'typing', { typing: 'yes' }), { param: { code: 'invalid-param' } })
})

t.test(
  'onChatMessage may let a text pass, alter it or refuse it; a failure of its own stays with the server',
  async t => {
    const errors: unknown[] = []
    const onChatMessage: NonNullable<ChatRoomsOptions['onChatMessage']> = async (profile, room, text, context) => {
      t.match(
        { profile, room, channel: context.channel },
        { profile: { id: 'ann' }, room: '42', channel: 'chat-room-42' }
      )
      if (text === 'rude') throw forbidden('Be kind')
      if (text === 'bug') throw new Error('database password')
      return text === 'loud' ? 'quiet' : undefined
    }
    const { enter } = await chatServer(t, { onChatMessage }, { onError: error => void errors.push(error) })
    const ann = await enter('ann')
    const say = (text: string) => ann.command('chat-room-42', 'chat-message', { text })
    t.match(await say('as it is'), { cmd: '$ack' })
    t.match(await say('loud'), { cmd: '$ack' })
    t.match(await say('rude'), { cmd: '$nack', param: { code: 'forbidden', message: 'Be kind' } })
    const { param } = await say('bug')
    t.match(param, { code: 'internal-error' })
    t.notMatch(JSON.stringify(param), /password/)
    t.match(errors, [{ message: 'database password' }])
    t.strictSame(
      ann.received.flatMap(({ cmd, param }) => (cmd === 'chat-message' ? (param as { text: string }).text : [])),
      ['as it is', 'quiet']
    )
  }
)

t.test(
  'a message reaches those who are in the room once the hook is done, even where all had left meanwhile',
  async t => {
    let finish = () => {}
    const done = new Promise<void>(resolve => {
      finish = resolve
    })
    const { app, enter } = await chatServer(t, { onChatMessage: () => done })
    const ann = await enter('ann')
    await ann.next('user-joined')
    ann.send({ channel: 'chat-room-42', cmd: 'chat-message', param: { text: 'wait for me' }, id: 1 })
    await ann.close()
    await nothingLeft(app)
    const bob = await enter('bob')
    await bob.next('user-joined')
    finish()
    t.match(await bob.next('chat-message'), { param: { user_id: 'ann', text: 'wait for me' } })
  }
)

t.test('a hook that fails at the join closes that connection alone', async t => {
  const { enter } = await chatServer(t, {
    onJoin({ connection }) {
      if (connection.profile?.id === 'bob') throw new Error('no')
    }
  })
  const ann = await enter('ann')
  const bob = await enter('bob')
  t.match(await bob.closed, { code: 1011 })
  t.match(await ann.next('user-left'), { param: { user_id: 'bob' } })
  t.match(await ann.command('chat-room-42', 'chat-message', { text: 'hello' }), { cmd: '$ack' })
})

t.test('without a profile one may read where hasAnonymousAccess says so, unseen, and never write', async t => {
  const { app, url, asked, enter } = await chatServer(t, {
    hasAnonymousAccess: (room, { via }) => room === '42' && via === 'route'
  })
  const ann = await enter('ann')
  await ann.next('user-joined')
  const nobody = await connect(`${url}/ws/chat/42`)
  t.match(await nobody.next('$joined'), { param: { presence: { count: 1 } } })
  t.strictSame(app.sockets.connections()[1]?.metadata, { room_id: '42', user_id: null, username: null })
  await ann.command('chat-room-42', 'chat-message', { text: 'hello' })
  t.match(await nobody.next('chat-message'), { param: { text: 'hello' } })
  const attempt = await nobody.command('chat-room-42', 'chat-message', { text: 'I' })
  t.match(attempt, { cmd: '$nack', param: { code: 'unauthorized' } })
  t.match(await nobody.command('chat-room-42', 'typing', { typing: true }), { param: { code: 'unauthorized' } })
  t.equal((await refused(connect(`${url}/ws/chat/43`))).statusCode, 403)
  await nobody.close()
  const heard = await heardUntil(app, ann)
  t.strictSame(
    heard.filter(cmd => cmd.startsWith('user-')),
    ['user-joined ann']
  )
  t.strictSame(asked, [{ user: 'ann', room: '42', via: 'route' }])
})

t.test('what is said in a room is kept for who was away, unless told otherwise', async t => {
  const { enter } = await chatServer(t, { log: true })
  const ann = await enter('ann')
  t.match(await ann.command('chat-room-42', 'chat-message', { text: 'a' }), {
    cmd: '$ack',
    param: { stored: 'memory' }
  })
  t.match(await ann.command('chat-room-42', 'typing', { typing: true }), { cmd: '$ack', param: { stored: 'none' } })
})
