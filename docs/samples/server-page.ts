import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act, notFound } from 'fastify-channels'

const app = fastify()
await app.register(channels)
const rooms = new Map([['42', { title: 'The answer' }]])
// #region page
app.get(
  '/rooms/:room',
  act('room.page', async (app, ps, { reply }) => {
    const name = ps.requestString('room', true)
    const room = rooms.get(name)
    if (room === undefined) throw notFound(`There is no room ${name}`)
    reply.header('cache-control', 'no-store')
    return { ...room, members: await app.sockets.members(`room-${name}`) }
  })
)
// #endregion
assert.deepEqual((await app.inject('/rooms/42')).json(), { title: 'The answer', members: [] })
assert.equal((await app.inject('/rooms/7')).statusCode, 404)
await app.close()
