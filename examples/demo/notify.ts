import { randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { act, unauthorized } from 'fastify-channels'
import { field, isScripted } from './forms.ts'
import { privateChannel } from './private.ts'

const TITLE_LENGTH = 80
const MESSAGE_LENGTH = 500

/** The form below the bell: a notification for everybody, or for all pages of the sender alone. */
export async function notifyRoute(app: FastifyInstance): Promise<void> {
  app.post(
    '/notify',
    act('demo.notify', async ({ sockets }, { profile }, { request, reply }) => {
      if (profile === null) throw unauthorized()
      const note = {
        title: field(request, 'title', TITLE_LENGTH),
        message: field(request, 'message', MESSAGE_LENGTH, false),
        timestamp: new Date().toISOString()
      }
      if (field(request, 'to', 10, false) === 'me') {
        const param = { kind: 'note', ...note }
        await sockets.broadcast(privateChannel(profile.id), { cmd: 'secure-message', param })
      } else {
        const param = { id: randomUUID(), type: 'info', ...note }
        await sockets.broadcast('notifications', { cmd: 'notification', param })
      }
      return isScripted(request) ? undefined : reply.redirect('/', 303)
    })
  )
}
