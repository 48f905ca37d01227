import type { FastifyInstance } from 'fastify'
import { secureUser } from 'fastify-channels/controllers'
import { encodeSegment } from 'fastify-channels/protocol'

/** The name of the channel that this user alone may be in. */
export function privateChannel(userId: string): `secure-user-${string}` {
  return `secure-user-${encodeSegment(userId)}`
}

/** The private channel, which tells all pages of a user how many of them there are. */
export async function privateChannels(app: FastifyInstance): Promise<void> {
  const tellPages = async ({ params }: { readonly params: { readonly id: string } }): Promise<void> => {
    const channel = privateChannel(params.id)
    const pages = app.sockets.connections().filter(({ channels }) => channels.includes(channel))
    const message = { channel, cmd: 'secure-message', param: { kind: 'pages', count: pages.length } } as const
    // To each of them by itself: it is true for now only, and a broadcast would be kept with the notes.
    await Promise.all(pages.map(({ id }) => app.sockets.sendTo(id, message)))
  }
  await app.register(secureUser, { onJoin: tellPages, onLeave: tellPages })
}
