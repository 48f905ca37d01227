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
  await t.rejects(connect(`${url}/ws/chat/staff`, as('bob')), {
    statusCode: 403,
    body: { code: 'FST_CHANNELS_FORBIDDEN' }
  })
  t.match(await refused(connect(`${url}/ws/chat/42`)), { statusCode: 401 })
  const get = (user?: string) =>
    app.inject({ url: '/ws/chat/42', headers: user === undefined ? {} : { 'x-user': user } })
  t.equal((await get()).statusCode, 401)
  t.equal((await get('ann')).statusCode, 426)
})
