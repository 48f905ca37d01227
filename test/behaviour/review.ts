import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { fastify } from 'fastify'
import t from 'tap'
import { act, channels } from '../../plugins/index.ts'

t.test('an HTTP/2 request of a socket route is answered 426 and ends nobody', async t => {
  const app = fastify({ http2: true }) as unknown as FastifyInstance
  await app.register(channels, { profile: () => null })
  app.get(
    '/ws',
    act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
  )
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const client = connectHttp2(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(() => client.destroy())
  for (const method of ['GET', 'HEAD']) {
    const stream = client.request({ ':path': '/ws', ':method': method })
    const [headers] = (await once(stream, 'response')) as [Record<string, unknown>]
    t.equal(headers[':status'], 426, method)
    stream.resume()
    await once(stream, 'close')
  }
})
