import { strict as assert } from 'node:assert'
import fastify from 'fastify'

const sessions = new Map([['token-of-ann', { id: 'ann', name: 'Ann' }]])
const app = fastify()

// #region hooks

import channels, { act, forbidden } from 'fastify-channels'

await app.register(channels, {
  // Your own sessions: null is an anonymous request.
  profile: request => sessions.get(request.headers.authorization?.replace('Bearer ', '') ?? '') ?? null
})
await app.register(async staff => {
  // An ordinary hook runs before the handshake, for upgrade requests as for all others.
  staff.addHook('onRequest', async request => {
    if (request.headers['x-staff'] !== 'yes') throw forbidden('Staff only')
  })
  staff.get(
    '/ws/staff',
    act('staff', async (app, ps) => {
      await app.sockets.upgrade(ps, 'staff')
    })
  )
})
// #endregion
const headers = { 'x-staff': 'yes', authorization: 'Bearer token-of-ann' }
assert.equal((await app.inject('/ws/staff')).statusCode, 403)
assert.equal((await app.inject({ url: '/ws/staff', headers })).statusCode, 426)
await app.close()
