import { readFile } from 'node:fs/promises'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { command, defineChannel, Type } from 'fastify-channels/protocol'

const Said = Type.Object({ text: Type.String({ minLength: 1, maxLength: 500 }) })
const room = defineChannel('room-:room', { events: { said: Said }, commands: { say: command(Said) } })

const app = fastify()
await app.register(channels, { clientPath: '/channels.js' })
const rooms = app.sockets.serve(room, {
  commands: { say: (param, context) => context.publish({ cmd: 'said', param }) }
})
const enter = act('room.enter', async (app, ps) => {
  await app.sockets.upgrade(ps, rooms.name({ room: ps.requestString('room', true) }))
})
app.get('/ws/room/:room', enter)
app.get('/', async (_request, reply) => reply.type('text/html').send(await readFile('index.html')))
const url = await app.listen({ port: Number(process.env.PORT ?? 3000) })
process.stdout.write(`Open ${url}\n`)
