// Peer: Socket.IO 4, WebSocket transport only, one room per channel, in-memory adapter.
import { createServer } from 'node:http'
import { Server } from 'socket.io'

const http = createServer()
const io = new Server(http, { transports: ['websocket'], serveClient: false })
io.on('connection', socket => {
  socket.on('join', channel => {
    socket.join(channel)
    socket.emit('joined', { channel })
  })
  socket.on('echo', m => {
    socket.emit('echo', m)
  })
  socket.on('msg', m => {
    io.to(m.channel).emit('msg', m)
  })
})
http.listen({ port: +process.env.PORT, host: '127.0.0.1', backlog: 4096 })
