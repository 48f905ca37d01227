import t from 'tap'
import type { ChannelRules } from '../../lib/channel/rules.ts'
import { command, defineChannel, defineContract, ephemeral, Type } from '../../lib/protocol/index.ts'
import { act, type ChannelHandle, forbidden, notFound, type Sockets, unauthorized } from '../../plugins/index.ts'
import { connect, refused } from '../fixtures/raw-client.ts'
import { as, type ServerOptions, serve, type Teardown } from '../fixtures/server.ts'

const Line = Type.Object({ text: Type.String({ minLength: 1, maxLength: 20 }) })
const room = defineChannel('room-:room', {
  events: { line: Line, typing: ephemeral(Type.Object({ user: Type.String() })) },
  commands: { say: command(Line), count: command(Type.Null(), { reply: Type.Integer() }) },
  presence: Type.Object({ name: Type.String() })
})
type Rules = ChannelRules<typeof room>

const rules = {
  access: () => true,
  commands: {
    say: (param, context) => context.publish({ cmd: 'line', param }),
    count: () => 7
  }
} satisfies Rules

/** A server with rooms of these rules, a route into each, and a route that only connects. */
async function rooms(t: Teardown, changes: Partial<Rules> = {}, options: ServerOptions = {}) {
  let handle: ChannelHandle<typeof room> | undefined
  const { app, url } = await serve(t, options, app => {
    handle = app.sockets.serve(room, { ...rules, ...(changes as Rules) })
    app.get(
      '/room/:room',
      act('room', async (app, ps) => void (await app.sockets.upgrade(ps, `room-${ps.requestString('room', true)}`)))
    )
    app.get(
      '/connect',
      act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby', { userChannel: false })))
    )
  })
  return { app, url, room: handle! }
}

t.test('a command runs its handler, its publications go out and the ack follows them', async t => {
  const { url } = await rooms(t)
  const ann = await connect(`${url}/room/1`, as('ann'))
  const bob = await connect(`${url}/room/1`, as('bob'))
  await bob.next('$joined')
  ann.send({ channel: 'room-1', cmd: 'say', param: { text: 'hi' }, id: 1 })
  t.strictSame(await bob.next('line'), { channel: 'room-1', cmd: 'line', param: { text: 'hi' }, from: 'ann' })
  t.match(await ann.next('line'), { from: 'ann' })
  t.strictSame(await ann.next(), { channel: 'room-1', cmd: '$ack', id: 1, param: { stored: 'none' } })
})

t.test('a reply comes in the ack, and one that breaks its schema is our failure and not told', async t => {
  const errors: unknown[] = []
  const { url } = await rooms(
    t,
    { commands: { ...rules.commands, count: (_param, { profile }) => (profile?.id === 'bad' ? 'x' : 7) as number } },
    { onError: error => errors.push(error) }
  )
  const good = await connect(`${url}/room/1`)
  t.match(await good.command('room-1', 'count', null), { cmd: '$ack', param: { reply: 7 } })
  const bad = await connect(`${url}/room/1`, as('bad'))
  const nack = await bad.command('room-1', 'count', null)
  t.match(nack, { cmd: '$nack', param: { code: 'internal-error', retry: false } })
  t.notMatch(nack.param.message, /integer/i)
  t.match(errors, [{ code: 'FST_CHANNELS_INVALID_REPLY' }])
})

t.test('a param that breaks its schema is refused with the path and the rule, undeclared properties too', async t => {
  const { url } = await rooms(t)
  const client = await connect(`${url}/room/1`)
  const cases: ReadonlyArray<readonly [unknown, RegExp]> = [
    [{ text: '' }, /^\/text: .*length/],
    [{ text: 'x'.repeat(21) }, /^\/text: .*length/],
    [{ text: 4 }, /^\/text: .*string/],
    [{}, /^\/text: .*required/],
    [{ text: 'a', more: 1 }, /^\/more: /],
    [null, /^\/: /],
    [undefined, /^\/: /]
  ]
  for (const [param, message] of cases) {
    const nack = await client.command('room-1', 'say', param)
    t.match(nack, { cmd: '$nack', param: { code: 'invalid-param', message, retry: false } }, JSON.stringify(param))
  }
  t.match(await client.command('room-1', 'shout', null), { param: { code: 'unknown-command' } })
  t.match(await client.command('room-2', 'say', { text: 'a' }), { param: { code: 'not-joined' } })
})

t.test('what a handler collected goes out only if it succeeds, and its refusals keep their code', async t => {
  const { url } = await rooms(t, {
    commands: {
      count: () => 1,
      say: async ({ text }, context) => {
        context.publish({ cmd: 'line', param: { text } })
        await Promise.resolve()
        if (text === 'forbidden') throw forbidden('not you')
        if (text === 'missing') throw notFound()
        if (text === 'crash') throw new Error('secret detail')
      }
    }
  })
  const client = await connect(`${url}/room/1`)
  t.match(await client.command('room-1', 'say', { text: 'forbidden' }), {
    param: { code: 'forbidden', message: 'not you' }
  })
  t.match(await client.command('room-1', 'say', { text: 'missing' }), { param: { code: 'not-found' } })
  const crash = await client.command('room-1', 'say', { text: 'crash' })
  t.match(crash, { param: { code: 'internal-error' } })
  t.notMatch(crash.param.message, /secret/)
  t.match(await client.command('room-1', 'say', { text: 'fine' }), { cmd: '$ack' })
  t.strictSame(
    client.received.filter(frame => frame.cmd === 'line').map(frame => frame.param),
    [{ text: 'fine' }]
  )
})

t.test(
  'commands of one connection on one channel run one after another, other channels do not wait for them',
  async t => {
    const order: string[] = []
    const release: Array<() => void> = []
    const { url } = await rooms(t, {
      commands: {
        count: () => 1,
        say: async ({ text }, { channel }) => {
          order.push(`${channel} ${text} begins`)
          if (text === 'slow') await new Promise<void>(resolve => release.push(resolve))
          order.push(`${channel} ${text} ends`)
        }
      }
    })
    const client = await connect(`${url}/room/1`)
    await client.request('$join', 'room-2')
    client.send({ channel: 'room-1', cmd: 'say', param: { text: 'slow' }, id: 1 })
    client.send({ channel: 'room-1', cmd: 'say', param: { text: 'next' }, id: 2 })
    client.send({ channel: 'room-2', cmd: 'say', param: { text: 'other' }, id: 3 })
    t.match(await client.next('$ack'), { id: 3 })
    release[0]!()
    t.match(await client.next('$ack'), { id: 1 })
    t.match(await client.next('$ack'), { id: 2 })
    t.strictSame(order, [
      'room-1 slow begins',
      'room-2 other begins',
      'room-2 other ends',
      'room-1 slow ends',
      'room-1 next begins',
      'room-1 next ends'
    ])
  }
)

t.test('ids go up by one: a used one is not run again, one too far ahead is told the next', async t => {
  const { url } = await rooms(t)
  const client = await connect(`${url}/room/1`)
  const say = async (id: number) => {
    client.send({ channel: 'room-1', cmd: 'say', param: { text: `${id}` }, id })
    for (;;) {
      const frame = await client.next()
      if (frame.id === id) return frame
    }
  }
  t.match(await say(1), { cmd: '$ack' })
  t.match(await say(1), { cmd: '$ack' }, 'what it got is answered again')
  t.match(await say(3), { cmd: '$nack', param: { code: 'resend-from', retry: true, from: 2 } })
  t.match(await say(2), { cmd: '$ack' })
  t.strictSame(client.received.filter(frame => frame.cmd === 'line').length, 2)
})

t.test('a route that upgrades asks the access rule before the 101, and so does a plain GET', async t => {
  const asked: unknown[] = []
  const { app, url } = await rooms(t, {
    access: ({ channel, params, profile, via, connection, ip, signal }) => {
      asked.push({ channel, params: { ...params }, user: profile?.id, via, connection, ip, aborted: signal.aborted })
      if (profile === null) throw unauthorized()
      if (params.room === 'none') throw notFound('no such room')
      return params.room !== 'staff'
    }
  })
  t.match(await refused(connect(`${url}/room/staff`, as('ann'))), {
    statusCode: 403,
    body: { code: 'FST_CHANNELS_FORBIDDEN' }
  })
  t.match(await refused(connect(`${url}/room/none`, as('ann'))), { statusCode: 404, body: { message: 'no such room' } })
  t.match(await refused(connect(`${url}/room/1`)), { statusCode: 401 })
  const get = (room: string, user: string) => app.inject({ url: `/room/${room}`, headers: { 'x-user': user } })
  t.equal((await get('staff', 'ann')).statusCode, 403)
  t.equal((await get('none', 'ann')).statusCode, 404)
  t.equal((await get('1', 'ann')).statusCode, 426)
  t.strictSame(asked[0], {
    channel: 'room-staff',
    params: { room: 'staff' },
    user: 'ann',
    via: 'route',
    connection: null,
    ip: '127.0.0.1',
    aborted: false
  })
  t.equal(app.sockets.stats().opened, 0)
})

t.test('$join asks the same rule, and $joined is the first frame of the subscription', async t => {
  const { app, url, room } = await rooms(t, {
    access: async ({ params, via }) => via === 'client' && params.room !== 'staff'
  })
  const client = await connect(`${url}/connect`, as('ann'))
  const busy = setInterval(() => void room.broadcast({ room: '1' }, { cmd: 'line', param: { text: 'x' } }), 0)
  t.teardown(() => clearInterval(busy))
  t.match(await client.request('$join', 'room-1'), {
    cmd: '$joined',
    ref: 1,
    param: { by: 'client', outcome: { kind: 'fresh' } }
  })
  await client.next('line')
  clearInterval(busy)
  t.equal(client.received.filter(frame => frame.channel === 'room-1')[0]?.cmd, '$joined')
  t.match(await client.request('$join', 'room-1'), { cmd: '$joined' }, 'joining twice is told again')
  t.match(await client.request('$join', 'room-staff'), { cmd: '$nack', param: { code: 'forbidden' } })
  t.match(await client.request('$join', 'elsewhere'), { cmd: '$nack', param: { code: 'unknown-channel' } })
  t.match(await client.request('$join', '../etc'), { cmd: '$nack', param: { code: 'unknown-channel' } })
  t.match(await client.request('$leave', 'room-1'), { cmd: '$left', param: { reason: 'client' } })
  t.match(await client.request('$leave', 'room-1'), { cmd: '$nack', param: { code: 'not-joined' } })
  t.strictSame(app.sockets.channels(), ['lobby'])
})

t.test('commands sent right after a $join wait for it, and are refused with it', async t => {
  const decisions: Array<(allowed: boolean) => void> = []
  const { url } = await rooms(t, { access: () => new Promise(resolve => decisions.push(resolve)) })
  const client = await connect(`${url}/connect`)
  client.send({ channel: 'room-1', cmd: '$join', ref: 1 })
  client.send({ channel: 'room-1', cmd: 'say', param: { text: 'early' }, id: 1 })
  client.send({ channel: 'room-2', cmd: '$join', ref: 2 })
  client.send({ channel: 'room-2', cmd: 'say', param: { text: 'early' }, id: 2 })
  client.send({ channel: 'room-2', cmd: '$presence', ref: 3 })
  client.send({ channel: 'lobby', cmd: '$presence', ref: 4 })
  t.match(await client.next('$nack'), { ref: 4, param: { code: 'forbidden' } })
  decisions[0]!(true)
  decisions[1]!(false)
  client.send({ channel: 'lobby', cmd: '$leave', ref: 5 })
  await client.next('$left')
  const of = (channel: string) => client.received.filter(frame => frame.channel === channel)
  t.match(of('room-1'), [{ cmd: '$joined' }, { cmd: 'line' }, { cmd: '$ack', id: 1 }])
  t.match(of('room-2'), [
    { cmd: '$nack', ref: 2, param: { code: 'forbidden' } },
    { cmd: '$nack', id: 2, param: { code: 'not-joined' } },
    { cmd: '$nack', ref: 3, param: { code: 'not-joined' } }
  ])
})

t.test('a membership that the server ends while access is being decided does not come about', async t => {
  let decide: ((allowed: boolean) => void) | undefined
  const { app, url } = await rooms(t, {
    access: () =>
      new Promise(resolve => {
        decide = resolve
      })
  })
  const client = await connect(`${url}/connect`)
  client.send({ channel: 'room-1', cmd: '$join', ref: 1 })
  client.send({ channel: 'lobby', cmd: '$presence', ref: 2 })
  await client.next('$nack')
  const connection = app.sockets.connections()[0]!
  t.equal(await app.sockets.leave(connection, 'room-1'), 1)
  decide!(true)
  t.match(await client.next(), { cmd: '$nack', ref: 1, param: { code: 'not-joined' } })
  t.strictSame(await app.sockets.members('room-1'), [])
  t.strictSame(connection.channels, ['lobby'])
})

t.test(
  'presence: members are told who is there, who came and who left, once for all connections of a user',
  async t => {
    const { url, room } = await rooms(t, { presence: true })
    const ann = await connect(`${url}/room/1`, as('ann'))
    t.match(await ann.next('$joined'), {
      param: { presence: { count: 1, members: [{ id: 'ann', info: { name: 'ANN' } }] } }
    })
    await ann.next('$presence')
    const plain = await connect(`${url}/room/1`, { v1: false, ...as('old') })
    await ann.next('$presence')
    const phone = await connect(`${url}/room/1`, as('bob'))
    t.match(await ann.next('$presence'), { param: { joins: [{ id: 'bob', info: { name: 'BOB' } }], leaves: [] } })
    const laptop = await connect(`${url}/room/1`, as('bob'))
    t.match(await laptop.next('$joined'), { param: { presence: { count: 3 } } })
    t.match(await ann.request('$presence', 'room-1'), { cmd: '$ack', param: { reply: { count: 3 } } })
    t.strictSame((await room.members({ room: '1' })).map(member => member.id).sort(), ['ann', 'bob', 'old'])
    await phone.close()
    await laptop.close()
    t.match(await ann.next('$presence'), { param: { joins: [], leaves: [{ id: 'bob' }] } })
    const updates = []
    for (let i = 0; i < 3; i++) updates.push((await plain.next('online-update')).param)
    t.strictSame(updates, [
      { userID: 'old', connected: true },
      { userID: 'bob', connected: true },
      { userID: 'bob', connected: false }
    ])
    t.notOk(
      plain.received.some(frame => frame.cmd.startsWith('$')),
      'a plain client gets no $ frame'
    )
    t.notOk(
      ann.received.some(frame => frame.cmd === 'online-update'),
      'a channels.v1 client gets no online-update'
    )
  }
)

t.test('presence that breaks its schema, or a rule that throws, closes 1011 and harms nobody else', async t => {
  const { app, url } = await rooms(t, {
    presence: profile => (profile.id === 'bad' ? ({ name: 4 } as never) : { name: profile.id })
  })
  const good = await connect(`${url}/room/1`, as('good'))
  await good.next('$joined')
  const bad = await connect(`${url}/room/1`, as('bad'))
  t.match(await bad.closed, { code: 1011 })
  t.match(await app.sockets.members('room-1'), [{ id: 'good' }])
  t.match(await good.command('room-1', 'count', null), { cmd: '$ack' })
})

t.test('onJoin and onLeave hear of every membership with its reason; onJoin that fails closes 1011', async t => {
  const seen: unknown[] = []
  const { app, url } = await rooms(
    t,
    {
      onJoin: async ({ channel, params, by, first, connection }) => {
        seen.push(['join', channel, params.room, by, first])
        if (connection.profile?.id === 'bad') throw new Error('no')
      },
      onLeave: ({ channel, reason, last }) => void seen.push(['leave', channel, reason, last])
    },
    { presenceGraceMs: 0 }
  )
  const bad = await connect(`${url}/room/1`, as('bad'))
  t.match(await bad.closed, { code: 1011, reason: 'internal error' })
  const ann = await connect(`${url}/connect`, as('ann'))
  await ann.request('$join', 'room-2')
  await ann.request('$leave', 'room-2')
  await app.sockets.join({ user: 'ann' }, 'room-3')
  t.match(await ann.next('$joined'), { channel: 'room-3', param: { by: 'server' } })
  await app.sockets.leave({ user: 'ann' }, 'room-3')
  t.match(await ann.next('$left'), { channel: 'room-3', param: { reason: 'server' } })
  t.strictSame(seen, [
    ['join', 'room-1', '1', 'route', true],
    ['leave', 'room-1', 'closed', true],
    ['join', 'room-2', '2', 'client', true],
    ['leave', 'room-2', 'client', true],
    ['join', 'room-3', '3', 'server', true],
    ['leave', 'room-3', 'server', true]
  ])
})

t.test('a handler is told who asks, where, and when nobody waits for it any more', async t => {
  const keys: unknown[] = []
  let signal: AbortSignal | undefined
  const { app, url } = await rooms(t, {
    commands: {
      count: () => 1,
      say: (_param, context) => {
        signal = context.signal
        t.equal(context.logger, context.connection.logger)
        keys.push([context.channel, context.params.room, context.profile?.id, context.idempotencyKey])
      }
    }
  })
  const ann = await connect(`${url}/room/1`, as('ann'))
  await ann.command('room-1', 'say', { text: 'a' })
  const { session } = app.sockets.connections()[0]!
  t.notOk(signal!.aborted)
  await app.sockets.leave({ user: 'ann' }, 'room-1')
  t.ok(signal!.aborted)
  const plain = await connect(`${url}/room/2`, { v1: false })
  plain.send({ cmd: 'say', param: { text: 'b' } })
  plain.send({ cmd: 'nonsense' })
  await plain.next('error')
  t.strictSame(keys, [
    ['room-1', '1', 'ann', `${session}:1`],
    ['room-2', '2', undefined, null]
  ])
})

t.test('commands wait for onJoin', async t => {
  let release: (() => void) | undefined
  const { url } = await rooms(t, {
    onJoin: () =>
      new Promise<void>(resolve => {
        release = resolve
      })
  })
  const client = await connect(`${url}/room/1`)
  client.send({ channel: 'room-1', cmd: 'say', param: { text: 'a' }, id: 1 })
  client.send({ channel: 'nowhere', cmd: '$leave', ref: 1 })
  await client.next('$nack')
  t.notOk(client.received.some(frame => frame.cmd === 'line'))
  release!()
  await client.next('$ack')
})

t.test('a channel has limits of its own: connections and commands a second', async t => {
  const { url } = await rooms(t, { limits: { connections: 1, messagesPerSecond: 2 } })
  const crowd = await Promise.all(Array.from({ length: 5 }, () => connect(`${url}/connect`)))
  const answers = await Promise.all(crowd.map(client => client.request('$join', 'room-2')))
  t.equal(answers.filter(({ cmd }) => cmd === '$joined').length, 1, 'no two take the last place')
  const ann = await connect(`${url}/room/1`)
  t.match(await refused(connect(`${url}/room/1`)), { statusCode: 503, body: { code: 'FST_CHANNELS_CHANNEL_FULL' } })
  const other = await connect(`${url}/connect`)
  t.match(await other.request('$join', 'room-1'), { cmd: '$nack', param: { code: 'channel-full', retry: true } })
  await ann.command('room-1', 'count', null)
  await ann.command('room-1', 'count', null)
  const nack = await ann.command('room-1', 'count', null)
  t.match(nack, { cmd: '$nack', param: { code: 'rate-limited', retry: true } })
  t.ok(nack.param.retryAfterMs > 0 && nack.param.retryAfterMs <= 500)
  ann.send({ channel: 'room-1', cmd: '$leave', ref: 1 })
  await ann.next('$left')
  ann.send({ channel: 'room-1', cmd: 'count', param: null, id: 3 })
  t.match(await ann.next(), { id: 3, param: { code: 'not-joined' } }, 'an id that was refused for now may come again')
})

t.test('events are held against the contract where that is asked for, at the place of the mistake', async t => {
  const { app, room } = await rooms(t, {}, { checkEvents: true })
  t.throws(() => room.broadcast({ room: '1' }, { cmd: 'line', param: { text: '' } }), {
    code: 'FST_CHANNELS_INVALID_EVENT',
    message: /"line".*\/text/
  })
  t.throws(() => (app.sockets as Sockets<unknown>).broadcast('room-1', { cmd: 'lime' }), {
    code: 'FST_CHANNELS_UNKNOWN_EVENT'
  })
  t.throws(() => room.broadcast({ room: '' }, { cmd: 'typing', param: { user: 'a' } }), {
    code: 'FST_CHANNELS_INVALID_PARAMS'
  })
  const lax = await rooms(t, {}, { checkEvents: false })
  await lax.room.broadcast({ room: '1' }, { cmd: 'line', param: { text: '' } })
})

t.test('a contract that cannot hold fails at boot', async t => {
  await serve(t, {}, app => {
    const sockets = app.sockets as Sockets<unknown>
    const served = (name: string, schema: unknown) =>
      sockets.serve(defineChannel(name, { commands: { a: command(schema as never) } }), {
        commands: { a: () => undefined }
      })
    const bad: ReadonlyArray<readonly [unknown, RegExp]> = [
      [Type.String({ default: 'x' }), /default/],
      [Type.Object({ a: Type.Array(Type.String({ default: 'x' })) }), /default/],
      [Type.Transform(Type.String()).Decode(Number).Encode(String), /Transform/],
      [Type.String({ format: 'nonsense' }), /format "nonsense"/],
      [Type.Object({ constructor: Type.String() }), /inherits/],
      [Type.Ref('nowhere'), /./]
    ]
    bad.forEach(([schema, message], i) => {
      t.throws(() => served(`bad${i}-:a`, schema), { code: 'FST_CHANNELS_INVALID_CONTRACT', message })
    })
    const misspelt = { acess: () => false } as never
    const unknown = { code: 'FST_CHANNELS_UNKNOWN_OPTION', message: /rules\.acess.*access/ }
    t.throws(() => sockets.serve(defineChannel('r-:a', {}), misspelt), unknown)
    t.throws(() => sockets.serve(defineChannel('r-:a', {}), { limits: { connection: 1 } } as never), {
      code: 'FST_CHANNELS_UNKNOWN_OPTION'
    })
    t.throws(() => sockets.serve(defineChannel('r-:a', {}), { presence: 'yes' } as never), {
      code: 'FST_CHANNELS_INVALID_OPTION',
      message: /boolean or function/
    })
    t.throws(() => sockets.serve(defineChannel('r-:a', {}), { limits: { connections: -1 } }), {
      code: 'FST_CHANNELS_INVALID_OPTION'
    })
    sockets.serve(defineChannel('x-:a', {}), {})
    t.throws(() => sockets.serve(defineChannel('x-:b', {}), {}), { code: 'FST_CHANNELS_ALREADY_SERVED' })
    t.throws(() => sockets.serve(room, {} as never), { code: 'FST_CHANNELS_INVALID_CONTRACT', message: /no handler/ })
    t.throws(() => sockets.serve(defineChannel('y', {}), { commands: { a: () => undefined } } as never), {
      code: 'FST_CHANNELS_INVALID_CONTRACT',
      message: /no command/
    })
  })
  const { app } = await serve(t, {}, () => {})
  t.throws(() => app.sockets.serve(defineChannel('late', {}), {}), { code: 'FST_CHANNELS_SERVE_TOO_LATE' })
})

t.test('intersections and unions of objects stay closed and usable', async t => {
  const both = Type.Intersect([Type.Object({ a: Type.Number() }), Type.Object({ b: Type.Number() })])
  const either = Type.Union([
    Type.Object({ a: Type.Number() }),
    Type.Object({ open: Type.Number() }, { additionalProperties: true })
  ])
  const shapes = defineChannel('shapes', { commands: { both: command(both), either: command(either) } })
  const { url } = await serve(t, {}, app => {
    app.sockets.serve(shapes, { commands: { both: () => undefined, either: () => undefined } })
    app.get(
      '/ws',
      act('ws', async (app, ps) => void (await app.sockets.upgrade(ps, 'shapes')))
    )
  })
  const client = await connect(`${url}/ws`)
  t.match(await client.command('shapes', 'both', { a: 1, b: 2 }), { cmd: '$ack' })
  t.match(await client.command('shapes', 'both', { a: 1, b: 2, c: 3 }), { cmd: '$nack' })
  t.match(await client.command('shapes', 'either', { a: 1 }), { cmd: '$ack' })
  t.match(await client.command('shapes', 'either', { a: 1, b: 1 }), { cmd: '$nack' })
  t.match(await client.command('shapes', 'either', { open: 1, b: 1 }), { cmd: '$ack' })
})

t.test('the hash in $welcome changes with the contract and with nothing else', async t => {
  const other = defineChannel('other', { events: { e: Type.Number() } })
  const hashes: string[] = []
  for (const contract of [defineContract([room, other]), defineContract([other, room]), defineContract([room])]) {
    const { url } = await rooms(t, {}, { contract })
    hashes.push((await (await connect(`${url}/room/1`)).next('$welcome')).param.contract)
  }
  t.match(hashes[0], /^[0-9a-f]{16}$/)
  t.equal(hashes[0], hashes[1])
  t.not(hashes[0], hashes[2])
})

t.test('an exact name goes before a pattern, a longer prefix before a shorter', async t => {
  const served: string[] = []
  const { url } = await serve(t, {}, app => {
    for (const pattern of ['doc-:a', 'doc-special', 'doc-team-:b']) {
      app.sockets.serve(defineChannel(pattern, {}), { access: () => served.push(pattern) > 0 })
    }
    app.get(
      '/ws',
      act('ws', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
    )
  })
  const client = await connect(`${url}/ws`)
  for (const name of ['doc-special', 'doc-team-1', 'doc-x']) await client.request('$join', name)
  t.strictSame(served, ['doc-special', 'doc-team-:b', 'doc-:a'])
})
