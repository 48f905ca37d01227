import { strict as assert } from 'node:assert'
// #region register

import fastify from 'fastify'
import channels from 'fastify-channels'

const app = fastify({ logger: { level: 'warn' }, trustProxy: ['127.0.0.1'] })
await app.register(channels, {
  cookie: { secret: process.env.COOKIE_SECRET ?? '' }, // at least 32 characters; fewer, or none, stop the boot
  origin: ['https://app.example.com'],
  limits: { connectionsPerUser: 5, payloadBytes: 16_384 },
  heartbeatMs: 20_000
})
// #endregion
await app.ready()
assert.equal(app.sockets.stats().connections, 0)
await app.close()
