import diagnostics from 'node:diagnostics_channel'
import { createRequire } from 'node:module'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { fastify } from 'fastify'
import t from 'tap'
import { defineChannel, Type } from '../../lib/protocol/index.ts'
import {
  type ActionEvent,
  act,
  type CloseEvent,
  type Connection,
  channels,
  echo,
  log,
  notFound,
  type Sockets
} from '../../plugins/index.ts'
import { ManualClock } from '../fixtures/clock.ts'
import { connect, refused } from '../fixtures/raw-client.ts'
import { as, headerProfile, type ServerOptions, serve, type Teardown } from '../fixtures/server.ts'
import { until } from '../fixtures/until.ts'

/** A server whose one route joins the channel that the path names. */
async function anyChannel(t: Teardown, options: ServerOptions = {}) {
  const { app, url } = await serve(t, options, app => {
    app.get(
      '/ws/:channel',
      act('any.channel', async (app, ps) => void (await app.sockets.upgrade(ps, ps.requestString('channel', true))))
    )
  })
  const sockets = app.sockets as Sockets<unknown>
  const enter = async (channel: string, user?: string, v1 = true) => {
    const client = await connect(`${url}/ws/${channel}`, { v1, ...(user === undefined ? {} : as(user)) })
    if (v1) await client.next('$joined')
    return client
  }
  return { app, url, sockets, enter }
}

t.test('except leaves out connections and users, and nobody else, whatever else is sent in the same turn', async t => {
  const { sockets, enter } = await anyChannel(t)
  const ann = await enter('a', 'ann')
  const bob = await enter('a', 'bob')
  const bob2 = await enter('a', 'bob')
  const plain = await enter('a', undefined, false)
  const annId = sockets.connections().find(connection => connection.profile?.id === 'ann')!
  void sockets.broadcast('a', { cmd: 'm1' }, { except: annId })
  void sockets.broadcast('a', { cmd: 'm2' }, { except: { user: 'bob' } })
  void sockets.broadcast('a', { cmd: 'm3' }, { except: [{ connection: annId.id }, { user: 'bob' }] })
  void sockets.broadcast('a', { cmd: 'm4' }, { except: [{ connection: 'nobody' }, { user: 'nobody' }] })
  await sockets.broadcast('a', { cmd: 'end' })
  for (const [client, expected] of [
    [ann, ['m2', 'm4', 'end']],
    [bob, ['m1', 'm4', 'end']],
    [bob2, ['m1', 'm4', 'end']],
    [plain, ['m1', 'm2', 'm3', 'm4', 'end']]
  ] as const) {
    await client.next('end')
    t.strictSame(
      client.received.map(frame => frame.cmd).filter(cmd => !cmd.startsWith('$')),
      expected
    )
  }
})

t.test(
  'sendTo and connection.send reach one connection, broadcastAll every one, in the order of the calls',
  async t => {
    const { sockets, enter } = await anyChannel(t)
    const ann = await enter('a', 'ann')
    const bob = await enter('b', 'bob')
    const [first] = sockets.connections() as [Connection]
    void sockets.broadcast('a', { cmd: 'one' })
    t.equal(await sockets.sendTo(first.id, { channel: 'a', cmd: 'two', param: 2 }), true)
    void sockets.broadcast('a', { cmd: 'three' })
    first.send({ cmd: 'four' })
    void sockets.broadcast('a', { cmd: 'five' })
    await sockets.broadcastAll({ channel: 'system', cmd: 'six' })
    await sockets.broadcastAll({ channel: 'system', cmd: 'seven' }, { except: first })
    t.equal(await sockets.sendTo('nobody', { channel: 'a', cmd: 'x' }), false)
    await ann.next('six')
    t.strictSame(
      ann.received.slice(3).map(frame => frame.cmd),
      ['one', 'two', 'three', 'four', 'five', 'six']
    )
    t.strictSame(await bob.next('six'), { channel: 'system', cmd: 'six' })
    await bob.next('seven')
  }
)

t.test(
  'what was published before a join is not the new member’s, and what was published before a leave still is',
  async t => {
    const { sockets, enter } = await anyChannel(t)
    const ann = await enter('a', 'ann')
    const bob = await enter('b', 'bob')
    void sockets.broadcast('a', { cmd: 'before' })
    void sockets.join({ user: 'bob' }, 'a')
    void sockets.broadcast('a', { cmd: 'between' })
    void sockets.leave({ user: 'ann' }, 'a')
    void sockets.broadcast('a', { cmd: 'after' })
    await bob.next('after')
    await sockets.sendToUser('ann', { cmd: 'end' })
    await ann.next('end')
    const of = (client: typeof ann) => client.received.filter(frame => frame.channel === 'a').map(frame => frame.cmd)
    t.strictSame(of(bob), ['$joined', 'between', 'after'])
    t.strictSame(of(ann), ['$joined', 'before', 'between', '$left'])
    t.equal(await sockets.join({ user: 'bob' }, 'a'), 0, 'bob is a member already')
    t.equal(await sockets.leave({ user: 'ann' }, 'a'), 0, 'ann is none any more')
  }
)

t.test('closeRequest asks a plain client to close and tells one of ours to stay away', async t => {
  const { sockets, enter } = await anyChannel(t, { closeGraceMs: 50 })
  const plain = await enter('a', 'old', false)
  const ours = await enter('a', 'new')
  t.equal(await sockets.closeRequest({ user: 'old' }, 'maintenance'), 1)
  t.equal(await sockets.closeRequest({ user: 'new' }, 'maintenance'), 1)
  t.strictSame(await plain.next(), { channel: 'a', cmd: 'close-connection', param: { reason: 'maintenance' } })
  t.match(await plain.closed, { code: 4500 }, 'one that does not close is closed after the grace')
  t.match(await ours.next('$closing'), { param: { reason: 'closed-by-server' } })
  t.strictSame(await ours.closed, { code: 4500, reason: 'maintenance' })
})

t.test('a plain client that closes when asked is waited for no longer', async t => {
  const clock = new ManualClock()
  const { sockets, enter } = await anyChannel(t, { clock, closeGraceMs: 500 })
  const arriving = enter('a', 'old', false)
  while (sockets.connections().length === 0) await new Promise(resolve => setImmediate(resolve))
  const plain = await arriving
  const before = clock.pending
  await sockets.closeRequest({ user: 'old' })
  t.equal(clock.pending, before + 2, 'the grace, and the end of the turn')
  await clock.advance(0)
  await plain.next('close-connection')
  await plain.close()
  while (sockets.stats().closed < 1) await new Promise(resolve => setImmediate(resolve))
  t.equal(clock.pending, 0)
})

t.test('a message may be as large as an outbox, and no larger', async t => {
  const { sockets } = await anyChannel(t, { limits: { outboxBytes: 2048 } })
  t.throws(() => sockets.broadcast('a', { cmd: 'x', param: 'y'.repeat(2048) }), {
    code: 'FST_CHANNELS_MESSAGE_TOO_BIG'
  })
  const options = { limits: { outboxBytes: 2048, messageBytes: 2049 } }
  await t.rejects(anyChannel(t, options), { code: 'FST_CHANNELS_INVALID_OPTION', message: /messageBytes.*2048.*2049/ })
})

t.test('disconnect closes a connection or all of a user’s, after what was sent before', async t => {
  const { sockets, enter } = await anyChannel(t)
  const phone = await enter('a', 'ann')
  const laptop = await enter('b', 'ann')
  const bob = await enter('a', 'bob')
  void sockets.broadcast('a', { cmd: 'last-words' })
  t.equal(await sockets.disconnect({ user: 'ann' }, 4123, 'bye'), 2)
  await phone.next('last-words')
  t.strictSame(await phone.closed, { code: 4123, reason: 'bye' })
  t.strictSame(await laptop.closed, { code: 4123, reason: 'bye' })
  t.equal(await sockets.online('ann'), false)
  t.equal(await sockets.online('bob'), true)
  const connection = sockets.connections()[0]!
  t.equal(await sockets.disconnect({ connection: connection.id }), 1)
  t.strictSame(await bob.closed, { code: 4500, reason: '' })
  t.equal(await sockets.disconnect(connection), 0, 'it is closed')
  t.equal(await sockets.disconnect({ connection: 'nobody' }), 0)
  t.throws(() => sockets.disconnect({} as never), { code: 'FST_CHANNELS_INVALID_OPTION' })
  t.throws(() => sockets.disconnect('ann' as never), { code: 'FST_CHANNELS_INVALID_OPTION' })
})

t.test('a mistake in the program is thrown where it is made, with a code, and nothing is sent', async t => {
  const { sockets, enter } = await anyChannel(t, { limits: { messageBytes: 200 } })
  const ann = await enter('a', 'ann')
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  let deep: unknown = 1
  for (let i = 0; i < 20_000; i++) deep = [deep]
  const mistakes: ReadonlyArray<readonly [string, () => unknown]> = [
    ['FST_CHANNELS_INVALID_CHANNEL', () => sockets.broadcast('no spaces', { cmd: 'x' })],
    ['FST_CHANNELS_INVALID_CHANNEL', () => sockets.broadcast('', { cmd: 'x' })],
    ['FST_CHANNELS_INVALID_CHANNEL', () => sockets.broadcast('x'.repeat(129), { cmd: 'x' })],
    ['FST_CHANNELS_INVALID_CHANNEL', () => sockets.broadcast(7 as never, { cmd: 'x' })],
    ['FST_CHANNELS_INVALID_CHANNEL', () => sockets.sendToChannel('a', { channel: 'ä', cmd: 'x' })],
    ['FST_CHANNELS_INVALID_CHANNEL', () => sockets.join({ user: 'ann' }, 'a/b')],
    ['FST_CHANNELS_RESERVED_COMMAND', () => sockets.broadcast('a', { cmd: '$welcome' })],
    ['FST_CHANNELS_RESERVED_COMMAND', () => sockets.broadcast('a', { cmd: '' })],
    ['FST_CHANNELS_RESERVED_COMMAND', () => sockets.sendToUser('ann', { cmd: 7 as never })],
    ['FST_CHANNELS_UNSERIALISABLE', () => sockets.broadcast('a', { cmd: 'x', param: cycle })],
    ['FST_CHANNELS_UNSERIALISABLE', () => sockets.broadcast('a', { cmd: 'x', param: 1n })],
    ['FST_CHANNELS_UNSERIALISABLE', () => sockets.broadcast('a', { cmd: 'x', param: () => {} })],
    ['FST_CHANNELS_UNSERIALISABLE', () => sockets.broadcast('a', { cmd: 'x', param: deep })],
    ['FST_CHANNELS_MESSAGE_TOO_BIG', () => sockets.broadcast('a', { cmd: 'x', param: 'y'.repeat(200) })],
    ['FST_CHANNELS_UNKNOWN_OPTION', () => sockets.broadcast('a', { cmd: 'x' }, { exept: { user: 'ann' } } as never)],
    ['FST_CHANNELS_INVALID_CLOSE', () => sockets.disconnect({ user: 'ann' }, 1006)],
    ['FST_CHANNELS_INVALID_CLOSE', () => sockets.disconnect({ user: 'ann' }, 3000)],
    ['FST_CHANNELS_INVALID_CLOSE', () => sockets.disconnect({ user: 'ann' }, 4000.5)],
    ['FST_CHANNELS_INVALID_CLOSE', () => sockets.disconnect({ user: 'ann' }, 4000, 'ü'.repeat(62))],
    ['FST_CHANNELS_NO_COOKIE', () => sockets.signIn({} as never, { id: 'a' })],
    ['FST_CHANNELS_NO_COOKIE', () => sockets.signOut({} as never)]
  ]
  for (const [code, make] of mistakes) t.throws(make, { code }, `${code} ${make}`)
  await sockets.broadcast('a', { cmd: 'fine' })
  t.match(await ann.next(), { cmd: '$joined', channel: 'user-ann' })
  t.match(await ann.next(), { cmd: 'fine' })
})

t.test('hooks and diagnostics channels tell of every opening and closing', async t => {
  const seen: unknown[] = []
  const topics = ['open', 'close', 'join', 'leave', 'nack', 'slow'].map(name => `fastify-channels:${name}`)
  const listen = (_message: unknown, name: string | symbol) => void seen.push(name)
  for (const name of topics) diagnostics.subscribe(name, listen)
  t.teardown(() => {
    for (const name of topics) diagnostics.unsubscribe(name, listen)
  })
  const closes: CloseEvent[] = []
  const { enter, sockets } = await anyChannel(t, {
    onOpen: connection => void seen.push(['onOpen', connection.profile?.id, [...connection.channels]]),
    onClose: (connection, event) => {
      seen.push(['onClose', connection.id.length])
      closes.push(event)
    }
  })
  const ann = await enter('a', 'ann')
  await ann.command('a', 'x')
  ann.ws.close(4100, 'for now')
  await ann.closed
  const bob = await enter('a')
  bob.ws.terminate()
  while (sockets.stats().closed < 2) await new Promise(resolve => setImmediate(resolve))
  t.strictSame(closes, [
    { code: 4100, reason: 'for now', clean: true, willReturn: true },
    { code: 1006, reason: '', clean: false, willReturn: true }
  ])
  t.strictSame(seen.slice(0, 9), [
    'fastify-channels:open',
    ['onOpen', 'ann', []],
    'fastify-channels:join',
    'fastify-channels:join',
    'fastify-channels:nack',
    'fastify-channels:leave',
    'fastify-channels:leave',
    'fastify-channels:close',
    ['onClose', 22]
  ])
})

t.test('a hook that fails harms only what depends on it, and is heard of', async t => {
  const errors: unknown[] = []
  const { enter, sockets } = await anyChannel(t, {
    onOpen: async connection => {
      if (connection.profile?.id === 'bad') throw new Error('open')
    },
    onClose: () => {
      throw new Error('close')
    },
    onError: (error, connection) => {
      errors.push([(error as Error).message, connection?.profile?.id])
      throw new Error('onError itself')
    },
    onMessage: () => {
      throw new Error('message')
    }
  })
  const good = await enter('a', 'good')
  const bad = await enter('a', 'bad')
  t.match(await bad.closed, { code: 1011 })
  t.match(await good.command('a', 'x'), { param: { code: 'internal-error' } })
  t.equal(sockets.stats().connections, 1)
  await good.close()
  while (sockets.stats().closed < 2) await new Promise(resolve => setImmediate(resolve))
  t.strictSame(errors, [
    ['open', 'bad'],
    ['close', 'bad'],
    ['message', 'good'],
    ['close', 'good']
  ])
})

t.test('onMessage takes what has no contract: echo, log, replies, refusals', async t => {
  const lines: string[] = []
  const stream = { write: (line: string) => void lines.push(line) }
  const { app, url } = await serve(t, { fastify: { logger: { stream, level: 'info' } }, onMessage: log }, app => {
    const handlers = { echo, reply: () => ({ answer: 42 }), missing: () => Promise.reject(notFound('nothing here')) }
    app.get(
      '/ws/:kind',
      act('on.message', async (app, ps) => {
        const onMessage = handlers[ps.params.kind as keyof typeof handlers]
        await app.sockets.upgrade(ps, 'a', onMessage === undefined ? {} : { onMessage })
      })
    )
  })
  const one = await connect(`${url}/ws/echo`, { v1: false })
  one.send(JSON.stringify({ cmd: 'hello', param: null }, null, 2))
  t.strictSame(await one.next(), { channel: 'a', cmd: 'hello', param: null })
  const two = await connect(`${url}/ws/reply`)
  t.match(await two.command('a', 'ask'), { cmd: '$ack', param: { reply: { answer: 42 }, stored: 'none' } })
  const three = await connect(`${url}/ws/missing`, { v1: false })
  three.send({ channel: 'a', cmd: 'ask', id: 9 })
  const refusal = { channel: 'a', cmd: 'error', id: 9, param: { code: 'not-found', message: 'nothing here' } }
  t.strictSame(await three.next(), refusal)
  const four = await connect(`${url}/ws/log`)
  await four.command('a', 'evil\u202e\u2028\u001b[31m', { password: 'hunter2' })
  const line = lines.find(text => text.includes('"msg":"message"'))!
  const { id } = app.sockets.connections().at(-1)!
  t.match(JSON.parse(line), { channel: 'a', cmd: 'evil\ufffd\ufffd\ufffd[31m', action: 'on.message', connectionId: id })
  t.notMatch(lines.join(''), /hunter2/)
})

t.test('stats count messages and bytes in and out, by connection, channel and service', async t => {
  const { sockets, enter } = await anyChannel(t, { onMessage: echo })
  const ann = await enter('a', 'ann')
  const bob = await enter('a')
  const before = sockets.stats()
  t.match(before, { connections: 2, users: 1, channels: 2, opened: 2, closed: 0, pendingHandshakes: 0 })
  ann.send('{"channel":"a","cmd":"e","param":"ü","id":1}')
  await ann.next('$ack')
  await sockets.broadcast('a', { cmd: 'x' })
  await bob.next('x')
  const after = sockets.stats()
  t.equal(after.messagesIn, 1)
  t.equal(after.bytesIn, Buffer.byteLength('{"channel":"a","cmd":"e","param":"ü","id":1}'))
  t.equal(after.messagesOut - before.messagesOut, 4, 'the echo, its ack, and the broadcast twice')
  t.match(after.perChannel.a, { connections: 2, messagesIn: 1, messagesOut: 2 })
  t.match(sockets.connections()[0]!.traffic, { messagesIn: 1 })
  ann.send('nonsense')
  await ann.next('$nack')
  t.strictSame(sockets.stats().refusals, { 'bad-frame': 1 })
  await ann.close()
  while (sockets.stats().closed < 1) await new Promise(resolve => setImmediate(resolve))
  t.match(sockets.stats(), { connections: 1, users: 0, channels: 1, opened: 2, closed: 1 })
  t.ok(sockets.stats().messagesOut >= after.messagesOut, 'what a closed connection had counts on')
  t.strictSame(sockets.channels(), ['a'])
})

t.test('onAction and the debug log hear how long an action took and what came of it', async t => {
  const events: ActionEvent[] = []
  const lines: string[] = []
  const { app, enter } = await anyChannel(t, {
    fastify: { logger: { level: 'debug', stream: { write: (line: string) => void lines.push(line) } } },
    onAction: event => {
      events.push(event)
      throw new Error('a hook of the host')
    }
  })
  await enter('a')
  t.equal((await app.inject('/ws/a')).statusCode, 426)
  t.match(events, [
    { key: 'any.channel', result: 'upgraded' },
    { key: 'any.channel', result: 'failed', error: { code: 'FST_CHANNELS_UPGRADE_REQUIRED' } }
  ])
  t.ok(events.every(event => event.durationMs >= 0))
  const line = lines.map(text => JSON.parse(text)).find(entry => entry.msg === 'action done')
  t.match(line, { action: 'any.channel', result: 'upgraded' })
})

t.test('a logger of its own is made for an action or a connection that logs, and for no other', async t => {
  const made: object[] = []
  const lines: Array<{ msg?: string }> = []
  const { app, url } = await serve(t, { fastify: { loggerInstance: counting(made, lines) } }, app => {
    app.get(
      '/ws/:logs',
      act('quiet', async (app, ps) => {
        if (ps.params.logs === 'yes') t.equal(ps.logger, ps.logger)
        const connection = await app.sockets.upgrade(ps, 'a')
        if (ps.params.logs === 'yes') t.equal(connection.logger, connection.logger)
      })
    )
  })
  const own = () => made.filter(bindings => 'action' in bindings)
  const ends = () => lines.filter(({ msg }) => msg === 'connection closed')
  const enter = async (path: string) => {
    const client = await connect(`${url}${path}`)
    await client.next('$joined')
    return { client, id: app.sockets.connections().at(-1)!.id }
  }
  const quiet = await enter('/ws/no')
  await quiet.client.close()
  await until('it has ended', () => ends().length === 1)
  t.strictSame(own(), [], 'nor for the line of its end')
  const logging = await enter('/ws/yes')
  t.match(own(), [{ action: 'quiet' }, { action: 'quiet', connectionId: logging.id }])
  await logging.client.close()
  await until('it has ended', () => ends().length === 2)
  const whose = { action: 'quiet', code: 1005, clean: true }
  t.match(ends(), [
    { ...whose, connectionId: quiet.id },
    { ...whose, connectionId: logging.id }
  ])
  t.equal(own().length, 2)
})

t.test(
  'a page state bears its logger in a copy, in what is derived of it and behind a proxy, and cannot be changed',
  async t => {
    const made: object[] = []
    const { app, url } = await serve(t, { fastify: { loggerInstance: counting(made) } }, app => {
      app.get(
        '/ws',
        act('a', async (app, ps) => {
          const { logger } = ps
          for (const one of [{ ...ps }, Object.create(ps), new Proxy(ps, {})]) t.equal(one.logger, logger)
          t.throws(() => Object.assign(ps, { key: 'b' }), TypeError)
          t.throws(() => Object.assign(ps, { logger }), TypeError)
          t.throws(() => Object.assign(ps, { other: 1 }), TypeError)
          t.strictSame(Object.keys(ps).includes('logger'), true)
          await app.sockets.upgrade(new Proxy(ps, {}), 'a')
        })
      )
    })
    await (await connect(`${url}/ws`)).next('$joined')
    t.equal(app.sockets.connections().length, 1)
    t.equal(made.filter(bindings => 'action' in bindings).length, 1)
  }
)

t.test('an action and its connection log to what a hook or the profile loader made the request log to', async t => {
  const made: object[] = []
  const profile = (request: FastifyRequest) => {
    request.log = request.log.child({ tenant: 'x' })
    return null
  }
  const { url } = await serve(t, { profile, fastify: { loggerInstance: counting(made) } }, app => {
    app.get(
      '/ws',
      act('a', async (app, ps) => {
        ps.logger.info('one')
        const connection = await app.sockets.upgrade(ps, 'a')
        connection.logger.info('two')
      })
    )
  })
  await (await connect(`${url}/ws`)).next('$joined')
  t.match(
    made.filter(bindings => 'tenant' in bindings),
    [{ tenant: 'x' }, { tenant: 'x', action: 'a' }, { tenant: 'x', action: 'a', connectionId: /./ }]
  )
})

/** A logger that says nothing, and notes what its children are bound to. */
function counting(made: object[], lines: object[] = [], known = {}): FastifyBaseLogger {
  const noop = (): void => {}
  const debug = (fields: object, msg: string): void => void lines.push({ ...known, ...fields, msg })
  const quiet = { fatal: noop, error: noop, warn: noop, info: noop, debug, trace: noop, silent: noop }
  const child = (own: object) => {
    const bindings = { ...known, ...own }
    made.push(bindings)
    return counting(made, lines, bindings)
  }
  return { ...quiet, level: 'silent', child } as unknown as FastifyBaseLogger
}

t.test('an upgrade for a name that no channel can have is the request’s fault: 400, and no socket', async t => {
  const { app, url, sockets } = await anyChannel(t)
  const bad = { statusCode: 400, body: { code: 'FST_CHANNELS_INVALID_CHANNEL' } }
  for (const name of ['a%20b', '%E2%80%AE', 'x%2Fy', 'x%00']) {
    t.match(await refused(connect(`${url}/ws/${name}`)), bad, name)
    t.equal((await app.inject(`/ws/${name}`)).statusCode, 400, name)
  }
  t.equal(sockets.stats().opened, 0)
})

t.test('a connection’s channels are those that it has joined, not those it waits for', async t => {
  let decide: (allowed: boolean) => void = () => {}
  const slow = defineChannel('slow', {})
  const { app, url } = await serve(t, {}, app => {
    const access = () =>
      new Promise<boolean>(resolve => {
        decide = resolve
      })
    app.sockets.serve(slow, { access })
    app.get(
      '/ws',
      act('ws', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
    )
  })
  const client = await connect(`${url}/ws`)
  client.send({ cmd: '$join', channel: 'slow', ref: 1 })
  client.send({ cmd: '$presence', channel: 'lobby', ref: 2 })
  t.match(await client.next('$nack'), { ref: 2 })
  const connection = app.sockets.connections()[0]!
  t.strictSame(connection.channels, ['lobby'])
  decide(true)
  await client.next('$joined')
  t.strictSame(connection.channels, ['lobby', 'slow'])
})

t.test('every connection with a profile is in its user’s channel, unless told otherwise', async t => {
  const { sockets, url, enter } = await anyChannel(t)
  const odd = await enter('a', 'Jürgen/1 %')
  t.match(await odd.next('$joined'), { channel: 'user-J%C3%BCrgen%2F1%20%25', param: { by: 'server' } })
  await sockets.sendToUser('Jürgen/1 %', { cmd: 'hi' })
  t.match(await odd.next('hi'), { channel: 'user-J%C3%BCrgen%2F1%20%25' })
  const long = await refused(connect(`${url}/ws/a`, as('ü'.repeat(40))))
  t.match(long, { statusCode: 500, body: { code: 'FST_CHANNELS_INVALID_PROFILE' } })
  const off = await anyChannel(t, { userChannel: false })
  await off.enter('a', 'ann')
  t.strictSame(off.sockets.channels(), ['a'])
})

t.test('a burst in one turn costs each connection one write, and each message is encoded once', async t => {
  const { sockets, enter } = await anyChannel(t)
  const clients = await Promise.all([1, 2, 3].map(() => enter('a')))
  let encoded = 0
  const param = {
    toJSON: () => {
      encoded++
      return 'x'
    }
  }
  const writes = sockets.connections().map(connection => {
    const count = { writes: 0 }
    const { transport } = connection
    const write = transport.write.bind(transport)
    transport.write = frames => {
      count.writes++
      write(frames)
    }
    return count
  })
  for (let i = 0; i < 50; i++) void sockets.broadcast('a', { cmd: 'm', param })
  await sockets.broadcast('a', { cmd: 'end' })
  await Promise.all(clients.map(client => client.next('end')))
  t.equal(encoded, 50)
  t.strictSame(writes, [{ writes: 1 }, { writes: 1 }, { writes: 1 }])
})

t.test('the client file is served where it is asked for, and may be cached by its content', async t => {
  const { app } = await anyChannel(t, { clientPath: '/channels.js' })
  const first = await app.inject('/channels.js')
  t.equal(first.statusCode, 200)
  t.match(first.headers, { 'content-type': /^text\/javascript/, 'x-content-type-options': 'nosniff' })
  t.match(first.body, /export\{/)
  const again = await app.inject({ url: '/channels.js', headers: { 'if-none-match': String(first.headers.etag) } })
  t.equal(again.statusCode, 304)
  t.equal(again.body, '')
})

t.test('a contract of events alone types and checks what the server sends', async t => {
  const news = defineChannel('news', { events: { headline: Type.String() } })
  const { sockets, enter } = await anyChannel(t, { contract: { channels: [news] }, checkEvents: true })
  const ann = await enter('news')
  t.throws(() => sockets.broadcast('news', { cmd: 'headline', param: 4 }), { code: 'FST_CHANNELS_INVALID_EVENT' })
  t.throws(() => sockets.sendToChannel('a', { channel: 'news', cmd: 'other' }), { code: 'FST_CHANNELS_UNKNOWN_EVENT' })
  await sockets.broadcast('news', { cmd: 'headline', param: 'rain' })
  t.match(await ann.next('headline'), { param: 'rain' })
  t.match(await ann.request('$join', 'elsewhere'), { param: { code: 'unknown-channel' } })
})

t.test('the cookie that signIn sets is who a browser is, and signOut takes it back', async t => {
  const secret = 'a secret of at least thirty-two characters'
  const { app, url } = await serve(t, { cookie: { secret } }, app => {
    app.post(
      '/login',
      act('login', async (app, _ps, { reply }) => void app.sockets.signIn(reply, { id: 'ann', name: 'Ann' }))
    )
    app.post(
      '/logout',
      act('logout', async (app, _ps, { reply }) => void app.sockets.signOut(reply))
    )
    app.get(
      '/me',
      act('me', async (_app, ps) => ({ me: ps.profile }))
    )
    app.get(
      '/ws',
      act('ws', async (app, ps) => void (await app.sockets.upgrade(ps, 'a')))
    )
  })
  const login = await app.inject({ method: 'POST', url: '/login' })
  t.equal(login.statusCode, 204)
  const cookie = String(login.headers['set-cookie']).split(';')[0]!
  t.strictSame((await app.inject({ url: '/me', headers: { cookie } })).json(), { me: { id: 'ann', name: 'Ann' } })
  t.strictSame((await app.inject('/me')).json(), { me: null })
  const client = await connect(`${url}/ws`, { headers: { cookie, origin: url } })
  const [connection] = app.sockets.connections() as [Connection]
  t.strictSame(connection.profile, { id: 'ann', name: 'Ann' })
  t.equal(app.sockets.connection(connection.id), connection)
  t.match(await refused(connect(`${url}/ws`, { headers: { cookie, origin: 'https://evil.example' } })), {
    statusCode: 403,
    body: { code: 'FST_CHANNELS_ORIGIN_REFUSED' }
  })
  t.match(
    await refused(connect(`${url}/ws`, { headers: { cookie } })),
    { statusCode: 403 },
    'a cookie without an Origin'
  )
  const logout = await app.inject({ method: 'POST', url: '/logout', headers: { cookie } })
  t.match(logout.headers['set-cookie'], /^channels=;.*(Max-Age=0|Expires=Thu, 01 Jan 1970)/)
  await client.close()
})

t.test('act holds parameters and query against its schemas before the action runs', async t => {
  const seen: unknown[] = []
  const { app, url } = await serve(t, {}, app => {
    const params = Type.Object({ room: Type.String({ pattern: '^[a-z]+$' }) })
    const query = Type.Object({ page: Type.Integer({ minimum: 1 }) })
    app.get(
      '/rooms/:room',
      act('room.page', { params, query }, async (app, ps) => {
        const { room } = ps.params
        seen.push([room, ps.query.page + 1])
        await app.sockets.upgrade(ps, `room-${room}`)
      })
    )
    app.get(
      '/only/:room',
      act('only', { params }, async (_app, ps) => ps.params.room)
    )
    app.get(
      '/query',
      act('query', { query }, async (_app, ps) => ({ page: ps.query.page }))
    )
  })
  t.match(await refused(connect(`${url}/rooms/A1?page=1`)), { statusCode: 400, body: { code: 'FST_ERR_VALIDATION' } })
  t.match(await refused(connect(`${url}/rooms/a`)), { statusCode: 400 })
  t.strictSame(seen, [])
  await (await connect(`${url}/rooms/a?page=2`)).next('$joined')
  t.strictSame(seen, [['a', 3]])
  t.equal((await app.inject('/only/a')).body, 'a')
  t.equal((await app.inject('/only/1')).statusCode, 400)
  t.strictSame((await app.inject('/query?page=4')).json(), { page: 4 })
})

t.test('where ws itself refuses the handshake the action is told, and the client has its answer', async t => {
  let told: unknown
  const { app, url } = await serve(t, {}, app => {
    app.get(
      '/ws',
      act('ws', async (app, ps) => {
        await app.sockets.upgrade(ps, 'a').catch(error => {
          told = error
          throw error
        })
      })
    )
  })
  app.websocketServer.close()
  t.match(await refused(connect(`${url}/ws`)), { statusCode: 503 })
  t.match(told, { code: 'FST_CHANNELS_SOCKET_GONE' })
  t.match(app.sockets.stats(), { opened: 0, pendingHandshakes: 0 })
})

t.test('a version of @fastify/websocket that a stranger could end is refused at boot', async t => {
  const manifest = createRequire(import.meta.url)('@fastify/websocket/package.json') as { version: string }
  const { version } = manifest
  t.teardown(() => {
    manifest.version = version
  })
  for (const old of ['11.3.5', '11.2.9', '10.9.9']) {
    manifest.version = old
    await t.rejects(
      serve(t, {}, () => {}),
      { code: 'FST_CHANNELS_WEBSOCKET_TOO_OLD', message: new RegExp(old) }
    )
  }
  for (const fine of ['11.3.6', '11.4.0', '12.0.0']) {
    manifest.version = fine
    await t.resolves(
      serve(t, {}, () => {}),
      fine
    )
  }
})

t.test('injectWS works: an application can test its sockets without a port', async t => {
  const app = fastify()
  t.teardown(() => app.close())
  await app.register(channels, { onMessage: echo, profile: headerProfile })
  app.get(
    '/ws/:channel',
    act('ws', async (app, ps) => void (await app.sockets.upgrade(ps, ps.requestString('channel'))))
  )
  await app.ready()
  const heard: Array<(text: string) => void> = []
  const next = () => new Promise<string>(resolve => heard.push(resolve))
  const first = next()
  const ws = await app.injectWS('/ws/a', as('ann'), {
    onInit: ws => ws.on('message', data => heard.shift()?.(String(data)))
  })
  await app.sockets.broadcast('a', { cmd: 'hi' })
  t.equal(await first, '{"channel":"a","cmd":"hi"}')
  const second = next()
  ws.send('{"cmd":"echoed","param":2}')
  t.equal(await second, '{"channel":"a","cmd":"echoed","param":2}')
  t.equal(await app.sockets.online('ann'), true)
  ws.terminate()
  await t.rejects(app.injectWS('/ws/a%20b'), { message: /400/ })
  await t.rejects(app.injectWS('/nowhere'), { message: /404/ })
})
