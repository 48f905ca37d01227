import { readFile } from 'node:fs/promises'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { command, defineChannel, Type } from 'fastify-channels/protocol'

const Said = Type.Object({ text: Type.String({ minLength: 1, maxLength: 500 }) })
const room = defineChannel('room-:room', { events: { said: Said }, commands: { say: command(Said) } })
const app = fastify()
await app.register(channels)
const rooms = app.sockets.serve(room, {
  commands: { say: (param, context) => context.publish({ cmd: 'said', param }) }
})
const enter = act('room.enter', async (app, ps) => {
  await app.sockets.upgrade(ps, rooms.name({ room: ps.requestString('room', true) }))
})
app.get('/ws/room/:room', enter)
const file = async (reply, name, type) => reply.type(type).send(await readFile(new URL(import.meta.resolve(name))))
app.get('/', (_, reply) => file(reply, './index.html', 'text/html'))
app.get('/client.min.js', (_, reply) => file(reply, 'fastify-channels/client.min.js', 'text/javascript'))
process.stdout.write(`Open ${await app.listen({ port: Number(process.env.PORT ?? 3000) })}\n`)
