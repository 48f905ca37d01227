// The loop that everybody writes: ws, one JSON.stringify a message, one send a client.
import { WebSocketServer } from 'ws'

const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
server.on('connection', socket => {
  socket.on('error', () => {})
  socket.on('message', data => {
    const { cmd, param } = JSON.parse(data)
    const text = JSON.stringify({ channel: 'bench', cmd, param })
    for (const client of server.clients) if (client.readyState === 1) client.send(text)
  })
})
server.on('listening', () => process.send(String(server.address().port)))
