// Peer: plain `ws`. JSON.stringify once per message, client.send() to each subscriber - the loop everybody writes.
import { WebSocketServer } from 'ws'

const channels = new Map()
const wss = new WebSocketServer({ port: +process.env.PORT, host: '127.0.0.1', backlog: 4096 })
wss.on('connection', socket => {
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
