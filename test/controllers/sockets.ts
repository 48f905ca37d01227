import type { FastifyPluginAsync } from 'fastify'
import { fastify } from 'fastify'
import t from 'tap'
import type { ConnectOptions } from '../../controllers/index.ts'
import { chatRooms, connect as connectController, notifications, secureUser } from '../../controllers/index.ts'
import { connect, refused } from '../fixtures/raw-client.ts'
import type { Teardown } from '../fixtures/server.ts'
import { as, serve } from '../fixtures/server.ts'
import { nothingLeft } from '../fixtures/until.ts'

const all = (t: Teardown) =>
  serve(t, {}, async app => {
    await app.register(notifications, { prefix: '/ws', log: false })
    await app.register(secureUser, { prefix: '/ws' })
    await app.register(connectController, { prefix: '/ws' })
    await app.register(chatRooms, { prefix: '/ws', hasRoomAccess: () => true })
  })

const notification = {
  id: 'n1',
  type: 'info',
  title: 'Hello',
  message: 'World',
  timestamp: '2026-01-02T03:04:05Z'
}

t.test('all controllers live side by side below one prefix, and ask for a profile by default', async t => {
  const { app, url } = await all(t)
  for (const [path, channel] of [
    ['/ws/notifications', 'notifications'],
    ['/ws/secure', 'secure-user-ann'],
    ['/ws/connect', 'user-ann'],
    ['/ws/chat/42', 'chat-room-42']
  ] as const) {
    t.match(await refused(connect(url + path)), { statusCode: 401, body: { code: 'FST_CHANNELS_UNAUTHORIZED' } }, path)
    t.equal((await app.inject(path)).statusCode, 401, path)
    t.equal((await app.inject({ url: path, headers: { 'x-user': 'ann' } })).statusCode, 426, path)
    t.equal((await refused(connect(url + path.slice(3), as('ann')))).statusCode, 404, path)
    const client = await connect(url + path, as('ann'))
    t.match(await client.next('$joined'), { channel, param: { by: 'route', outcome: { kind: 'fresh' } } })
    await client.close()
  }
  await nothingLeft(app)
})

t.test('unknown options and wrong ones are refused with a code, and so is an app without the plugin', async t => {
  const controllers: ReadonlyArray<readonly [FastifyPluginAsync<any>, string]> = [
    [notifications, 'notifications'],
    [secureUser, 'secure-user'],
    [connectController, 'connect'],
    [chatRooms, 'chat-rooms']
  ]
  for (const [plugin, name] of controllers) {
    const register = (options: object) => serve(t, {}, app => app.register(plugin, options))
    await t.rejects(
      register({ paht: '/x' }),
      { code: 'FST_CHANNELS_UNKNOWN_OPTION', message: /"paht"; known are path/ },
      name
    )
    await t.rejects(register({ path: 'x' }), { code: 'FST_CHANNELS_INVALID_OPTION', message: /begins with \// }, name)
    const bare = fastify()
    t.teardown(() => bare.close())
    await t.rejects(async () => await bare.register(plugin, { hasRoomAccess: () => true }), {
      message: `The dependency 'fastify-channels' of plugin 'fastify-channels/${name}' is not registered`
    })
  }
})

t.test('each controller may have a path of its own', async t => {
  const { url } = await serve(t, {}, async app => {
    await app.register(notifications, { path: '/a' })
    await app.register(secureUser, { path: '/b' })
    await app.register(connectController, { path: '/c' })
  })
  for (const path of ['/a', '/b', '/c']) await (await connect(url + path, as('ann'))).close()
  t.equal((await refused(connect(`${url}/notifications`, as('ann')))).statusCode, 404)
})

t.test('notifications go to everybody, and to one user through the own channel under the same name', async t => {
  const { app, url } = await all(t)
  const ann = await connect(`${url}/ws/notifications`, as('ann'))
  const bob = await connect(`${url}/ws/notifications`, { ...as('bob'), v1: false })
  const forAll = { channel: 'notifications', cmd: 'notification', param: notification }
  await app.sockets.broadcast('notifications', forAll)
  t.strictSame(await ann.next('notification'), forAll)
  t.strictSame(await bob.next('notification'), forAll)
  await app.sockets.sendToUser('ann', forAll)
  t.strictSame(await ann.next('notification'), { ...forAll, via: 'user-ann' })
  await app.sockets.broadcast('notifications', { cmd: 'system-update', param: { version: '2.0', at: null } })
  const update = { channel: 'notifications', cmd: 'system-update', param: { version: '2.0', at: null } }
  t.strictSame(await ann.next('system-update'), update)
  t.strictSame(await bob.next('system-update'), update)
  t.equal(bob.received.filter(({ cmd }) => cmd === 'notification').length, 1)
})

t.test('a notification that breaks its contract is not sent', async t => {
  const { app } = await all(t)
  for (const param of [
    { ...notification, timestamp: 'yesterday' },
    { ...notification, title: undefined },
    { ...notification, id: 1 },
    null
  ]) {
    const message = { channel: 'notifications', cmd: 'notification', param }
    t.throws(() => app.sockets.sendToUser('ann', message), { code: 'FST_CHANNELS_INVALID_EVENT' })
  }
  const update = { cmd: 'system-update', param: 'soon' }
  t.throws(() => app.sockets.broadcast('notifications', update), { code: 'FST_CHANNELS_INVALID_EVENT' })
})

t.test('notifications may be open to all; hooks hear of joins and leaves', async t => {
  const heard: string[] = []
  const { app, url } = await serve(t, {}, async app => {
    await app.register(connectController, { requireProfile: false })
    await app.register(notifications, {
      requireProfile: false,
      onJoin: ({ by, first }) => void heard.push(`join ${by} ${first}`),
      onLeave: ({ reason, last }) => void heard.push(`leave ${reason} ${last}`)
    })
  })
  const nobody = await connect(`${url}/notifications`)
  await nobody.close()
  const other = await connect(`${url}/connect`)
  t.match(await other.request('$join', 'notifications'), { cmd: '$joined' })
  t.match(await other.request('$leave', 'notifications'), { cmd: '$left' })
  t.strictSame(heard, ['join route false', 'leave closed false', 'join client false', 'leave client false'])
  await other.close()
  await nothingLeft(app)
})

t.test('a private channel is its user’s alone, by route and by $join', async t => {
  const heard: string[] = []
  const { app, url } = await serve(t, {}, async app => {
    await app.register(connectController, { prefix: '/ws', requireProfile: false })
    await app.register(secureUser, {
      prefix: '/ws',
      onJoin: ({ params }) => void heard.push(`join ${params.id}`),
      onLeave: ({ params }) => void heard.push(`leave ${params.id}`)
    })
  })
  const ann = await connect(`${url}/ws/secure`, as('a/n n'))
  t.equal((await ann.next('$joined')).channel, 'secure-user-a%2Fn%20n')
  const eve = await connect(`${url}/ws/connect`, as('eve'))
  for (const channel of ['secure-user-a%2Fn%20n', 'secure-user-ann', 'secure-user-EVE', 'secure-user-eve-2']) {
    t.match(await eve.request('$join', channel), { cmd: '$nack', param: { code: 'forbidden' } }, channel)
  }
  for (const channel of ['secure-user-', 'secure-user-%65ve', 'secure-user-a%2fn%20n', 'user-a%2Fn%20n', 'user-ann']) {
    t.match(await eve.request('$join', channel), { cmd: '$nack', param: { code: 'unknown-channel' } }, channel)
  }
  t.match(await eve.request('$join', 'secure-user-eve'), { cmd: '$joined' })
  const nobody = await connect(`${url}/ws/connect`)
  t.match(await nobody.request('$join', 'secure-user-eve'), { cmd: '$nack', param: { code: 'unauthorized' } })
  await app.sockets.broadcast('secure-user-eve', { cmd: 'secure-message', param: { pin: 1234 } })
  await app.sockets.broadcast('secure-user-eve', { cmd: 'notification', param: notification })
  t.match(await eve.next('secure-message'), { channel: 'secure-user-eve', param: { pin: 1234 } })
  t.match(await eve.next('notification'), { channel: 'secure-user-eve', param: notification })
  t.notOk([...ann.received, ...nobody.received].some(({ cmd }) => cmd === 'secure-message'))
  await Promise.all([ann.close(), eve.close(), nobody.close()])
  await nothingLeft(app)
  t.strictSame(heard.sort(), ['join a/n n', 'join eve', 'leave a/n n', 'leave eve'])
})

t.test('one socket joins many channels, and leaves them one by one', async t => {
  const { app, url } = await all(t)
  const ann = await connect(`${url}/ws/connect`, as('ann'))
  for (const channel of ['notifications', 'chat-room-1', 'chat-room-2', 'secure-user-ann']) {
    t.match(await ann.request('$join', channel), { cmd: '$joined', channel, param: { by: 'client' } })
  }
  t.match(await ann.request('$join', 'secure-user-bob'), { cmd: '$nack', param: { code: 'forbidden' } })
  t.match(await ann.request('$join', 'no-such-channel'), { cmd: '$nack', param: { code: 'unknown-channel' } })
  t.match(await ann.command('chat-room-1', 'chat-message', { text: 'one' }), { cmd: '$ack', id: 1 })
  t.match(await ann.command('chat-room-2', 'chat-message', { text: 'two' }), { cmd: '$ack', id: 2 })
  await ann.request('$leave', 'chat-room-1')
  t.match(await ann.command('chat-room-1', 'chat-message', { text: 'gone' }), { param: { code: 'not-joined' } })
  t.strictSame(app.sockets.channels().sort(), ['chat-room-2', 'notifications', 'secure-user-ann', 'user-ann'])
  await app.sockets.sendToUser('ann', { cmd: 'hello' })
  t.match(await ann.next('hello'), { channel: 'user-ann' })
  await ann.close()
  await nothingLeft(app)
})

t.test('connect may be open to all, begin in another channel and run a hook', async t => {
  const start = async (options: ConnectOptions) => {
    const { app, url } = await serve(t, {}, async app => {
      await app.register(secureUser)
      await app.register(connectController, options)
    })
    return { app, url: `${url}/connect` }
  }
  const open = await start({ requireProfile: false })
  t.match(await (await connect(open.url)).next('$joined'), { channel: 'connect' })
  t.match(await (await connect(open.url, as('ann'))).next('$joined'), { channel: 'user-ann' })

  const own = await start({ channel: profile => `secure-user-${profile?.id === 'eve' ? 'ann' : profile?.id}` })
  t.match(await (await connect(own.url, as('ann'))).next('$joined'), { channel: 'secure-user-ann' })
  t.equal((await refused(connect(own.url, as('eve')))).statusCode, 403)
  t.equal((await refused(connect(own.url))).statusCode, 401)

  const hooked = await start({
    async onConnect(connection) {
      if (connection.profile?.id === 'eve') throw new Error('no')
      connection.send({ cmd: 'hello', param: connection.channels })
    }
  })
  t.match(await (await connect(hooked.url, as('ann'))).next('hello'), { param: ['user-ann'] })
  t.match(await (await connect(hooked.url, as('eve'))).closed, { code: 1011 })
})
