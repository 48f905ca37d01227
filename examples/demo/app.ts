import type { FastifyInstance } from 'fastify'
import { fastify } from 'fastify'
import { type BrokerFactory, channels } from 'fastify-channels'
import { chatRooms, connect, notifications } from 'fastify-channels/controllers'
import { contract } from './channels.ts'
import { serveFiles } from './files.ts'
import { acceptForms } from './forms.ts'
import { addSecurityHeaders } from './headers.ts'
import { notifyRoute } from './notify.ts'
import { pageRoute } from './page.ts'
import { privateChannels } from './private.ts'
import { mayEnter } from './rooms.ts'
import { signInRoutes } from './sign-in.ts'

export interface AppOptions {
  /** Signs the cookie; at least 32 characters. */
  readonly secret: string
  /** Where demo.css, main.js and icon.svg are. */
  readonly files: URL
  /** Where the logs are kept; default: in memory, until the process ends. */
  readonly broker?: BrokerFactory
  readonly logLevel?: string
}

/** The whole demo, ready to listen. */
export async function buildApp({ secret, files, broker, logLevel = 'silent' }: AppOptions): Promise<FastifyInstance> {
  const app = fastify({ logger: { level: logLevel } })
  addSecurityHeaders(app)
  acceptForms(app)
  await app.register(channels, { contract, cookie: { secret }, ...(broker && { broker }) })

  await app.register(connect, { prefix: '/ws' })
  await app.register(notifications, { prefix: '/ws' })
  await app.register(privateChannels, { prefix: '/ws' })
  await app.register(chatRooms, {
    prefix: '/ws',
    hasRoomAccess: (profile, room) => mayEnter(profile.id, room)
  })

  await app.register(pageRoute)
  await app.register(signInRoutes)
  await app.register(notifyRoute)
  await serveFiles(app, files)
  return app
}
