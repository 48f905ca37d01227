import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { ChannelRules, JoinEvent, LeaveEvent } from '../lib/channel/rules.ts'
import { assertKeys } from '../lib/options.ts'
import { defineChannel } from '../lib/protocol/index.ts'
import { act } from '../lib/request/act.ts'
import { AnyObject, flag, fn, log as logOption, Notification, path, signedIn } from './common.ts'

/**
 * The channel of what everybody is told. What concerns one user goes through that user's own channel and bears this one's
 * name: `sendToUser(id, { channel: 'notifications', cmd: 'notification', param })`.
 */
export const notificationsChannel = defineChannel('notifications', {
  events: { notification: Notification, 'system-update': AnyObject }
})

/** Options of `notifications`. Unknown ones are refused. */
export interface NotificationsOptions {
  /** Where the socket is, below the prefix. Default `/notifications`. */
  readonly path?: string
  /** Whether only requests with a profile may connect or `$join`; others get 401. Default true. */
  readonly requireProfile?: boolean
  /** How what is sent is kept for who was away. Default `DEFAULT_LOG`; false keeps nothing. */
  readonly log?: ChannelRules<typeof notificationsChannel>['log']
  /** Runs after a connection has joined. A throw closes 1011. */
  readonly onJoin?: (event: JoinEvent<typeof notificationsChannel>) => void | Promise<void>
  /** Runs after a connection has left. A throw is logged. */
  readonly onLeave?: (event: LeaveEvent<typeof notificationsChannel>) => void | Promise<void>
}

const OPTIONS = { path, requireProfile: flag, log: logOption, onJoin: fn, onLeave: fn }

const plugin: FastifyPluginAsync<NotificationsOptions> = async (app, options) => {
  assertKeys('', options, OPTIONS)
  const { log = true, onJoin, onLeave, requireProfile = true } = options
  app.sockets.serve(notificationsChannel, {
    access({ profile }) {
      if (requireProfile) signedIn(profile)
      return true
    },
    log,
    ...(onJoin && { onJoin }),
    ...(onLeave && { onLeave })
  })
  app.get(
    options.path ?? '/notifications',
    act('channels.notifications', async (app, ps) => {
      await app.sockets.upgrade(ps, 'notifications')
    })
  )
}

/** One socket route for what users are told, and the rules of its channel. */
export const notifications = fp(plugin, {
  name: 'fastify-channels/notifications',
  fastify: '5.x',
  encapsulate: true,
  dependencies: ['fastify-channels']
})
