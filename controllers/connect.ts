import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { Connection } from '../lib/connection/connection.ts'
import { assertKeys } from '../lib/options.ts'
import { userChannel } from '../lib/protocol/index.ts'
import type { RegisteredProfile } from '../lib/register.ts'
import { act } from '../lib/request/act.ts'
import { flag, fn, path, signedIn } from './common.ts'

/** Options of `connect`. Unknown ones are refused. */
export interface ConnectOptions {
  /** Where the socket is, below the prefix. Default `/connect`. */
  readonly path?: string
  /** Whether only requests with a profile may connect; others get 401. Default true. */
  readonly requireProfile?: boolean
  /**
   * The channel that the connection begins in. Default: the user's own, `user-<id>`, and `connect` where there is no
   * profile. Where the channel is served its `access` rule is asked. A throw refuses the handshake.
   */
  readonly channel?: (profile: RegisteredProfile | null) => string
  /** Runs after the connection has joined its first channel. A throw closes 1011. */
  readonly onConnect?: (connection: Connection) => void | Promise<void>
}

const OPTIONS = { path, requireProfile: flag, channel: fn, onConnect: fn }

const plugin: FastifyPluginAsync<ConnectOptions> = async (app, options) => {
  assertKeys('', options, OPTIONS)
  const { requireProfile = true, channel = ownChannel, onConnect } = options
  app.get(
    options.path ?? '/connect',
    act('channels.connect', async (app, ps) => {
      if (requireProfile) signedIn(ps.profile)
      const connection = await app.sockets.upgrade(ps, channel(ps.profile))
      await onConnect?.(connection)
    })
  )
}

function ownChannel(profile: RegisteredProfile | null): string {
  return profile === null ? 'connect' : userChannel(profile.id)
}

/** One socket for everything: the client joins what it wants by `$join`, where the channels' `access` rules let it. */
export const connect = fp(plugin, {
  name: 'fastify-channels/connect',
  fastify: '5.x',
  encapsulate: true,
  dependencies: ['fastify-channels']
})
