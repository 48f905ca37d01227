import { randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { act } from 'fastify-channels'
import { isChannelName } from 'fastify-channels/protocol'
import type { DemoProfile } from './channels.ts'
import { SIGNED_OUT } from './close-codes.ts'
import { field } from './forms.ts'
import { signInPage } from './page.ts'
import { privateChannel } from './private.ts'

const NAME_LENGTH = 24

/** In and out. There is no password: in the demo anybody may be anybody. */
export async function signInRoutes(app: FastifyInstance): Promise<void> {
  app.post(
    '/login',
    act('demo.login', async (app, { profile }, { request, reply }) => {
      const name = field(request, 'name', NAME_LENGTH, false)
      const id = name.normalize('NFKC').toLowerCase()
      if (!isUserId(id))
        return reply
          .code(400)
          .type('text/html')
          .send(signInPage(name, problemWith(name)))
      if (profile !== null) endLogin(app, profile)
      app.sockets.signIn(reply, { id, name, login: randomUUID() })
      return reply.redirect('/', 303)
    })
  )

  app.post(
    '/logout',
    act('demo.logout', async (app, { profile }, { reply }) => {
      if (profile !== null) endLogin(app, profile)
      app.sockets.signOut(reply)
      return reply.redirect('/', 303)
    })
  )
}

/** The cookie goes with the answer; sockets that were opened with it are ended here, in all tabs of that browser. */
function endLogin({ sockets }: FastifyInstance, { login }: DemoProfile): void {
  for (const connection of sockets.connections()) {
    if (connection.profile?.login === login) void sockets.disconnect(connection, SIGNED_OUT, 'signed-out')
  }
}

function problemWith(name: string): string {
  if (name === '') return 'Please write a name.'
  return 'Please choose another name: a shorter one, or one without invisible characters.'
}

/** Whether a user of that id can have a channel: a name's length has a bound, and some characters take nine bytes in it. */
function isUserId(id: string): boolean {
  if (id === '' || /\p{C}/u.test(id)) return false
  return isChannelName(privateChannel(id))
}
