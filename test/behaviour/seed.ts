import t from 'tap'
import { act, echo, forbidden, unauthorized } from '../../plugins/index.ts'
import { connect, refused } from '../fixtures/raw-client.ts'
import { as, serve } from '../fixtures/server.ts'

t.test('basic socket: an action upgrades for a channel and the client is a member of it', async t => {
  const { app, url } = await serve(t, {}, app => {
    app.get(
      '/ws',
      act('my.socket', async (app, ps) => {
        await app.sockets.upgrade(ps, 'user-notifications', { onMessage: echo })
      })
    )
  })
  const client = await connect(`${url}/ws`)
  const welcome = await client.next()
  t.equal(welcome.cmd, '$welcome')
  t.match(await client.next(), {
    cmd: '$joined',
    channel: 'user-notifications',
    param: { by: 'route', outcome: { kind: 'fresh' } }
  })
  t.strictSame(app.sockets.channels(), ['user-notifications'])
  client.send({ channel: 'user-notifications', cmd: 'hello', param: { a: 1 }, id: 1 })
  t.match(await client.next(), { channel: 'user-notifications', cmd: 'hello', param: { a: 1 } })
  t.match(await client.next(), { cmd: '$ack', id: 1, param: { stored: 'none' } })
})

t.test('chat room: access is decided before the upgrade, metadata is kept, and the room hears user-joined', async t => {
  const { app, url } = await serve(t, {}, app => {
    app.get(
      '/ws/chat/:room',
      act('chat.room', async (app, ps) => {
        const room = ps.requestString('room', true)
        if (ps.profile === null) throw unauthorized()
        if (room === 'staff') throw forbidden('access denied to chat room')
        const channel = `chat-room-${room}`
        const { id, name } = ps.profile
        await app.sockets.upgradeWithMetadata(ps, channel, { room_id: room, user_id: id, username: name })
        await app.sockets.broadcast(channel, { cmd: 'user-joined', param: { user_id: id, username: name } })
      })
    )
  })
  const ann = await connect(`${url}/ws/chat/42`, as('ann'))
  await ann.next('user-joined')
  const bob = await connect(`${url}/ws/chat/42`, as('bob'))
  t.match(await ann.next('user-joined'), { channel: 'chat-room-42', param: { user_id: 'bob', username: 'BOB' } })
  t.match(await bob.next('user-joined'), { param: { user_id: 'bob' } })
  t.strictSame(app.sockets.connections()[1]?.metadata, { room_id: '42', user_id: 'bob', username: 'BOB' })
  const denied = await refused(connect(`${url}/ws/chat/staff`, as('bob')))
  t.match(denied, {
    statusCode: 403,
    body: { code: 'FST_CHANNELS_FORBIDDEN' }
  })
  t.match(await refused(connect(`${url}/ws/chat/42`)), { statusCode: 401 })
  const get = (user?: string) =>
    app.inject({ url: '/ws/chat/42', headers: user === undefined ? {} : { 'x-user': user } })
  t.equal((await get()).statusCode, 401)
  t.equal((await get('ann')).statusCode, 426)
})

t.test('broadcast: every member of the channel gets the message, and nobody else', async t => {
  const { app, url } = await serve(t, {}, app => {
    app.get(
      '/ws/:channel',
      act('any.channel', async (app, ps) => {
        await app.sockets.upgrade(ps, ps.requestString('channel', true))
      })
    )
  })
  const [one, two, other] = await Promise.all(['news', 'news', 'weather'].map(name => connect(`${url}/ws/${name}`)))
  const notification = { id: 'n1', type: 'info', title: 'Hello', message: 'World', timestamp: '2026-01-01T00:00:00Z' }
  t.strictSame(await app.sockets.broadcast('news', { cmd: 'notification', param: notification }), { position: null })
  await app.sockets.broadcast('weather', { cmd: 'rain' })
  for (const client of [one!, two!]) {
    t.strictSame(await client.next('notification'), { channel: 'news', cmd: 'notification', param: notification })
  }
  t.strictSame(await other!.next('rain'), { channel: 'weather', cmd: 'rain' })
})

t.test('send to user: all connections of the user get the message, whatever they are connected to', async t => {
  const { app, url } = await serve(t, {}, app => {
    app.get(
      '/ws/:channel',
      act('any.channel', async (app, ps) => {
        await app.sockets.upgrade(ps, ps.requestString('channel', true))
      })
    )
  })
  const phone = await connect(`${url}/ws/a`, as('7'))
  const laptop = await connect(`${url}/ws/b`, as('7'))
  const other = await connect(`${url}/ws/a`, as('8'))
  await app.sockets.sendToUser('7', { cmd: 'invoice-paid', param: { amount: 12 } })
  await app.sockets.sendToUser('8', { cmd: 'nothing' })
  for (const client of [phone, laptop]) {
    t.strictSame(await client.next('invoice-paid'), { channel: 'user-7', cmd: 'invoice-paid', param: { amount: 12 } })
  }
  await other.next('nothing')
  t.notOk(other.received.some(frame => frame.cmd === 'invoice-paid'))
})

t.test('system update: a message about one channel goes through others, which stand in via', async t => {
  const { app, url } = await serve(t, {}, app => {
    app.get(
      '/ws/:channel',
      act('any.channel', async (app, ps) => {
        await app.sockets.upgrade(ps, ps.requestString('channel', true))
      })
    )
  })
  const one = await connect(`${url}/ws/tenant-1`)
  const two = await connect(`${url}/ws/tenant-2`)
  for (const channel of ['tenant-1', 'tenant-2']) {
    await app.sockets.sendToChannel(channel, { channel: 'system', cmd: 'system-update', param: { version: 2 } })
  }
  const update = { channel: 'system', cmd: 'system-update', param: { version: 2 } }
  t.strictSame(await one.next('system-update'), { ...update, via: 'tenant-1' })
  t.strictSame(await two.next('system-update'), { ...update, via: 'tenant-2' })
})

t.test('secure socket: without a profile it is 401 and no socket, with one it is the own channel', async t => {
  const { app, url } = await serve(t, {}, app => {
    app.get(
      '/ws/secure',
      act('secure.socket', async (app, ps) => {
        if (ps.profile === null) throw unauthorized('authentication required')
        await app.sockets.upgrade(ps, `secure-user-${ps.profile.id}`)
      })
    )
  })
  const anonymous = await refused(connect(`${url}/ws/secure`))
  t.match(anonymous, {
    statusCode: 401,
    body: { code: 'FST_CHANNELS_UNAUTHORIZED', message: 'authentication required' }
  })
  t.equal(app.sockets.stats().opened, 0)
  const client = await connect(`${url}/ws/secure`, as('7'))
  t.match(await client.next('$joined'), { channel: 'secure-user-7' })
})
