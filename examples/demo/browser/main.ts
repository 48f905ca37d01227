import { Socket } from 'fastify-channels/client'
import type { Contract } from '../channels.ts'
import { ROOMS } from '../rooms.ts'
import { ringBell } from './bell.ts'
import { showConnectionState, waitingMessages } from './connection-state.ts'
import { privatePage } from './private-page.ts'
import { RoomView } from './room.ts'
import { Views } from './views.ts'

const userId = document.body.dataset.userId!

// One socket for everything: so there is one connection whose state people need to know.
const socket = new Socket<Contract>('/ws/connect', { backoff: { maxMs: 10_000 } })
showConnectionState(socket)
ringBell(socket)

const news = (id: string): void => views.news(id)
const rooms = ROOMS.map(room => new RoomView(socket, room, userId, () => news(room.id)))
const views = new Views([...rooms, privatePage(socket, userId, () => news('private'))])

// What waits to be sent lives in this page only.
addEventListener('beforeunload', event => {
  if (waitingMessages(socket) > 0) event.preventDefault()
})
