// Peer: Fastify 5 + @fastify/websocket with the same bare loop as ws.mjs.

import websocket from '@fastify/websocket'
import Fastify from 'fastify'

const channels = new Map()
const app = Fastify()
await app.register(websocket)
app.get('/', { websocket: true }, socket => {
  socket.on('error', () => {})
  socket.on('close', () => {
    for (const s of channels.values()) s.delete(socket)
  })
  socket.on('message', data => {
    const m = JSON.parse(data)
    if (m.cmd === 'join') {
      if (!channels.has(m.channel)) channels.set(m.channel, new Set())
      channels.get(m.channel).add(socket)
      socket.send(JSON.stringify({ channel: m.channel, cmd: 'joined' }))
    } else if (m.cmd === 'echo') {
      socket.send(JSON.stringify({ channel: m.channel, cmd: 'echo', param: m.param }))
    } else {
      const text = JSON.stringify({ channel: m.channel, cmd: m.cmd, param: m.param })
      for (const client of channels.get(m.channel) ?? []) if (client.readyState === 1) client.send(text)
    }
  })
})
await app.listen({ port: +process.env.PORT, host: '127.0.0.1', backlog: 4096 })
