import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels from 'fastify-channels'

const app = fastify()
await app.register(channels)

// #region secure

import { act, unauthorized } from 'fastify-channels'
import { encodeSegment } from 'fastify-channels/protocol'

const secureSocketHandler = act('secure.socket', async (app, ps) => {
  if (ps.profile === null) throw unauthorized('authentication required')
  const channel = `secure-user-${encodeSegment(ps.profile.id)}`
  await app.sockets.upgrade(ps, channel)
})

app.get('/ws/secure', secureSocketHandler)
// #endregion
const answer = await app.inject('/ws/secure')
assert.equal(answer.statusCode, 401)
assert.equal(answer.json().message, 'authentication required')
await app.close()
