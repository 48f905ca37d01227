import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { ChannelRules, JoinEvent, LeaveEvent } from '../lib/channel/rules.ts'
import { assertKeys } from '../lib/options.ts'
import { defineChannel } from '../lib/protocol/index.ts'
import { act } from '../lib/request/act.ts'
import { AnyObject, fn, log as logOption, Notification, path, signedIn } from './common.ts'

/** The channel of one user that this user alone may be in. */
export const secureUserChannel = defineChannel('secure-user-:id', {
  events: { notification: Notification, 'secure-message': AnyObject }
})

/** Options of `secureUser`. Unknown ones are refused. */
export interface SecureUserOptions {
  /** Where the socket is, below the prefix. Default `/secure`. */
  readonly path?: string
  /** How what is sent is kept for who was away. Default `DEFAULT_LOG`; false keeps nothing. */
  readonly log?: ChannelRules<typeof secureUserChannel>['log']
  /** Runs after a connection has joined. A throw closes 1011. */
  readonly onJoin?: (event: JoinEvent<typeof secureUserChannel>) => void | Promise<void>
  /** Runs after a connection has left. A throw is logged. */
  readonly onLeave?: (event: LeaveEvent<typeof secureUserChannel>) => void | Promise<void>
}

const OPTIONS = { path, log: logOption, onJoin: fn, onLeave: fn }

const plugin: FastifyPluginAsync<SecureUserOptions> = async (app, options) => {
  assertKeys('', options, OPTIONS)
  const { log = true, onJoin, onLeave } = options
  const users = app.sockets.serve(secureUserChannel, {
    access: ({ profile, params }) => signedIn(profile).id === params.id,
    log,
    ...(onJoin && { onJoin }),
    ...(onLeave && { onLeave })
  })
  app.get(
    options.path ?? '/secure',
    act('channels.secure-user', async (app, ps) => {
      await app.sockets.upgrade(ps, users.name({ id: signedIn(ps.profile).id }))
    })
  )
}

/** One socket route to the private channel of whoever asks; without a profile it answers 401. */
export const secureUser = fp(plugin, {
  name: 'fastify-channels/secure-user',
  fastify: '5.x',
  encapsulate: true,
  dependencies: ['fastify-channels']
})
