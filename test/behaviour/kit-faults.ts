import t from 'tap'
import { roomNet, roomWorld } from '../fixtures/kit-story.ts'
import type { KitClient, Net, World } from '../kit/index.ts'
import { DEFAULT_FAULTS, FAULTS } from '../kit/index.ts'

const HEARTBEAT_MS = 5_000
const options = { heartbeatMs: HEARTBEAT_MS, closeGraceMs: 1_000 }
/** Comes back soon, so that what is told is the fault and not the wait. */
const socket = { backoff: { minMs: 10, maxMs: 10, stableMs: 0 }, silentSlackMs: 1_000 }

interface Narrowness {
  readonly socketBytes?: number
}

/** One test for both forms: what can happen to a client means the same in each. */
for (const [name, make] of [
  ['net', (more: Narrowness) => roomNet({ options, nodes: 2, ...more })],
  ['world', (more: Narrowness) => roomWorld({ ...options, nodes: 2, ...more })]
] as const) {
  async function begin(more: Narrowness = {}): Promise<{ sim: Net | World; ada: KitClient; bob: KitClient }> {
    const sim = await make(more)
    const [ada, bob] = ['ada', 'bob'].map(id => sim.client({ name: id, profile: { id }, node: 0, socket }))
    for (const client of [ada!, bob!]) client.socket.join('room-:n', { n: '1' })
    await sim.settle()
    t.same(ada!.joined, ['user-ada', 'room-1'])
    return { sim, ada: ada!, bob: bob! }
  }
  const say = (client: KitClient, n: number, fill = 0): Promise<unknown> =>
    client.socket.channel('room-:n', { n: '1' }).send('say', { n, ...(fill > 0 && { fill: 'x'.repeat(fill) }) })
  const said = (client: KitClient): number[] => client.params('room-1').map(param => (param as { n: number }).n)

  t.test(`${name}: settle lets everything arrive, and says where something waits for time`, async t => {
    const { sim, ada, bob } = await begin()
    t.match(await sim.settle(say(ada, 1)), { stored: 'none' })
    t.strictSame(bob.params('room-1'), [{ n: 1 }])
    t.equal(sim.now, 0)
    ada.delay(50)
    const later = say(ada, 2)
    await sim.advance(100)
    t.match(await sim.settle(later), { stored: 'none' })
    t.strictSame(bob.params('room-1'), [{ n: 1 }, { n: 2 }])
    await t.rejects(sim.advance(-1), RangeError)
    const moving = sim.advance(10)
    await t.rejects(sim.advance(10), { message: /time is moving already/ })
    await moving
    await sim.close()
  })

  t.test(`${name}: a cut and a reset end the link, and the client comes back`, async t => {
    const { sim, ada } = await begin()
    ada.cut()
    await sim.settle()
    t.equal(ada.socket.state.name, 'waiting')
    await sim.advance(10)
    t.equal(ada.socket.state.name, 'connected')
    ada.reset()
    await sim.advance(10)
    t.equal(ada.connections, 3)
    t.same(ada.joined, ['user-ada', 'room-1'])
    await sim.close()
  })

  t.test(`${name}: what was under way still comes after a cut, and is lost by a reset`, async t => {
    for (const fault of ['cut', 'reset'] as const) {
      const { sim, ada, bob } = await begin()
      ada.delay(20)
      await sim.settle()
      say(bob, 1)
      await sim.settle()
      ada[fault]()
      await sim.advance(15)
      ada.delay(0)
      await sim.advance(15)
      t.strictSame(ada.params('room-1'), fault === 'cut' ? [{ n: 1 }] : [], fault)
      await sim.close()
    }
  })

  t.test(`${name}: a half-open link is silent to both, until each finds out by itself`, async t => {
    const { sim, ada, bob } = await begin()
    ada.halfOpen()
    say(bob, 1)
    await sim.settle()
    t.strictSame(ada.params('room-1'), [])
    t.equal(ada.socket.state.name, 'connected')
    await sim.advance(HEARTBEAT_MS * 2 + 1_500)
    t.equal(ada.socket.state.name, 'connected', 'over a new link')
    t.equal(ada.connections, 2)
    await sim.advance(HEARTBEAT_MS * 2)
    say(bob, 2)
    await sim.settle()
    t.strictSame(ada.params('room-1'), [{ n: 2 }])
    await sim.close()
  })

  t.test(`${name}: a dropped direction swallows what is sent, until the link ends`, async t => {
    const { sim, ada, bob } = await begin()
    ada.drop('up')
    const lost = say(ada, 1)
    say(bob, 2)
    await sim.settle()
    t.strictSame(ada.params('room-1'), [{ n: 2 }], 'the other direction works')
    t.strictSame(bob.params('room-1'), [{ n: 2 }])
    ada.cut()
    await sim.advance(10)
    t.equal(ada.connections, 2)
    t.match(await sim.settle(lost), { stored: 'none' }, 'it was sent again')
    await sim.close()
  })

  t.test(`${name}: offline is silence and dials that hang; what was sent comes afterwards`, async t => {
    const { sim, ada, bob } = await begin()
    ada.offline()
    const sent = say(ada, 1)
    await sim.advance(2_000)
    t.strictSame(bob.params('room-1'), [])
    ada.online()
    await sim.settle(sent)
    t.strictSame(bob.params('room-1'), [{ n: 1 }])
    ada.reset()
    ada.offline()
    await sim.advance(30_000)
    t.not(ada.socket.state.name, 'connected')
    ada.online()
    await sim.advance(20_000)
    t.equal(ada.socket.state.name, 'connected')
    await sim.close()
  })

  t.test(`${name}: a slow reader is felt by the server, which closes it`, async t => {
    const { sim, ada, bob } = await begin()
    ada.stopReading()
    const fill = 'x'.repeat(50_000)
    for (let n = 0; n < 60; n++) {
      bob.socket.channel('room-:n', { n: '1' }).send('say', { n, fill })
      await sim.advance(50)
    }
    t.equal(bob.params('room-1').length, 60)
    t.match(sim.trace, 'fault: stops reading')
    ada.resumeReading()
    await sim.advance(1_500)
    t.equal(ada.connections, 2, 'it was closed, and came back')
    t.ok(ada.params('room-1').length < 60)
    await sim.close()
  })

  t.test(`${name}: a suspended client hears nothing, and everything at once when it wakes`, async t => {
    const { sim, ada, bob } = await begin()
    ada.suspend()
    say(bob, 1)
    say(bob, 2)
    await sim.advance(1_000)
    t.strictSame(ada.params('room-1'), [])
    ada.wake()
    await sim.settle()
    t.strictSame(ada.params('room-1'), [{ n: 1 }, { n: 2 }])
    ada.suspend()
    await sim.advance(120_000)
    ada.wake()
    await sim.advance(2_000)
    t.equal(ada.socket.state.name, 'connected', 'after the server had given it up')
    t.ok(ada.connections > 1)
    await sim.close()
  })

  t.test(`${name}: who wakes hears all of it in its order, also what had no room on its way`, async t => {
    const { sim, ada, bob } = await begin({ socketBytes: 1_024 })
    ada.suspend()
    const numbers = Array.from({ length: 40 }, (_, n) => n)
    for (const n of numbers) {
      say(bob, n, 200)
      await sim.settle()
    }
    ada.wake()
    await sim.settle()
    t.strictSame(said(ada), numbers)
    await sim.close()
  })

  t.test(`${name}: what a node holds for who does not read is lost with the node, and with the link`, async t => {
    for (const end of ['kill', 'cut'] as const) {
      const { sim, ada, bob } = await begin({ socketBytes: 1_024 })
      ada.stopReading()
      for (let n = 0; n < 100; n++) say(bob, n, 400)
      await sim.settle()
      if (end === 'kill') sim.node(0).kill()
      else ada.cut()
      ada.resumeReading()
      await sim.settle()
      const came = said(ada)
      t.ok(came.length < 80, `${end}: ${came.length} of 100 were on their way`)
      t.strictSame(
        came,
        came.map((_, n) => n)
      )
      await sim.close()
    }
  })

  t.test(`${name}: a WebSocket of the test's own says what no client would`, async t => {
    const { sim, ada } = await begin()
    const ws = sim.dial(undefined, { name: 'eve', profile: { id: 'eve' } })
    const frames: any[] = []
    ws.onmessage = ({ data }) => void frames.push(JSON.parse(data as string))
    await sim.settle()
    t.match(frames, [{ cmd: '$welcome' }, { cmd: '$joined', channel: 'user-eve' }])
    ws.send('{"channel":"room-1","cmd":"$history","ref":7}')
    ws.send('{"channel":"room-1","cmd":"say","id":3,"param":{"n":1}}')
    await sim.settle()
    t.match(frames.slice(2), [
      { cmd: '$nack', ref: 7, param: { code: 'not-joined' } },
      { cmd: '$nack', id: 3, param: { code: 'resend-from', from: 1 } }
    ])
    t.match(sim.trace, /eve {6}> \{"channel":"room-1","cmd":"\$history","ref":7\}/)
    t.equal(ada.connections, 1)
    await sim.expectNoLoss()
    await sim.close()
    t.equal(ws.readyState, 3)
  })

  t.test(`${name}: a stalled node does nothing, then all of it in one burst`, async t => {
    const { sim, ada, bob } = await begin()
    sim.node(0).stall(3_000)
    const sent = [say(ada, 1), say(bob, 2), say(ada, 3)]
    await sim.advance(2_999)
    t.strictSame(bob.params('room-1'), [])
    await sim.advance(1)
    await sim.settle(Promise.all(sent))
    t.same(bob.params('room-1').length, 3)
    t.equal(ada.connections, 1, 'the link has outlived it')
    await sim.close()
  })

  t.test(`${name}: a killed node says nothing, and its clients go elsewhere or come back`, async t => {
    const { sim, ada } = await begin()
    const eve = sim.client({ name: 'eve', profile: { id: 'eve' }, socket })
    await sim.settle()
    const node = sim.node(0)
    node.kill()
    t.equal(node.state, 'down')
    t.throws(() => node.kill(), { message: 'n0 is down' })
    await sim.advance(100)
    t.not(ada.socket.state.name, 'connected', 'she will have that node')
    t.equal(eve.socket.state.name, 'connected', 'who takes any is at the other')
    await node.restart()
    await sim.advance(100)
    t.equal(ada.socket.state.name, 'connected')
    t.notMatch(sim.trace, 'closed 1012')
    await node.restart({ store: true })
    await sim.advance(100)
    t.equal(ada.connections, 3)
    await t.rejects(node.restart({ store: false }), { message: 'other nodes run on this store' })
    await sim.close()
  })

  t.test(`${name}: a drained node tells its clients, and takes the time that it needs`, async t => {
    const { sim, ada, bob } = await begin()
    bob.offline()
    await sim.node(0).drain()
    t.equal(sim.node(0).state, 'down')
    t.equal(sim.now, options.closeGraceMs, 'one did not answer within the grace')
    t.equal(sim.node(0).leftTimers, 0)
    t.match(sim.trace, /ada +closed 1012/)
    t.equal(ada.heard.filter(({ kind }) => kind === 'lost').length, 1)
    bob.online()
    await sim.node(0).restart()
    await sim.advance(60_000)
    t.same([ada.socket.state.name, bob.socket.state.name], ['connected', 'connected'])
    await sim.close()
  })

  t.test(`${name}: handshakes are refused, and let through again`, async t => {
    const { sim, ada } = await begin()
    sim.node(0).refuse(503, { retryAfterS: 2 })
    ada.reset()
    await sim.advance(1_900)
    t.equal(ada.socket.state.name, 'waiting')
    t.match(sim.trace, 'HTTP 503')
    sim.node(0).admit()
    await sim.advance(200)
    t.equal(ada.socket.state.name, 'connected')
    await sim.close()
  })

  t.test(`${name}: wall clocks jump alone`, async t => {
    const { sim } = await begin()
    const { host } = sim.node(0)
    const wall = host.wall()
    sim.node(0).jumpWall(3_600_000)
    await sim.advance(5)
    t.equal(host.wall() - wall, 3_600_005)
    t.equal(host.monotonic(), 5)
    await sim.close()
  })

  t.test(`${name}: every fault of a plan strikes, and all of them have ended with it`, async t => {
    const sim = await (name === 'net' ? roomNet({ seed: 3, options }) : roomWorld({ seed: 3, ...options }))
    for (let i = 0; i < 3; i++) sim.client().socket.join('room-:n', { n: '1' })
    const faults = FAULTS.filter(fault => fault !== 'fail-broker' && fault !== 'lose-entry')
    t.ok(faults.length > DEFAULT_FAULTS.length)
    sim.chaos({ ms: 120_000, everyMs: 500, lastsMs: [10, 5_000], faults })
    await sim.advance(120_000)
    await sim.heal()
    await sim.advance(30_000)
    for (const client of sim.clients) t.same(client.joined, ['connect', 'room-1'])
    for (const word of ['cut', 'reset', 'half-open', 'drops up', 'drops down', 'delay', 'stops reading', 'offline']) {
      t.match(sim.trace, `fault: ${word}`)
    }
    for (const word of ['suspended', 'stalls', 'killed', 'drains', 'refuses']) t.match(sim.trace, `fault: ${word}`)
    t.match(sim.trace, 'without its store')
    await sim.close()
  })
}

t.test('a refused handshake is asked about, as a page of the same origin does', async t => {
  const net = await roomNet()
  net.node().refuse(401)
  const ada = net.client({ profile: { id: 'ada' } })
  await net.settle()
  t.match(ada.socket.state, { name: 'closed', status: 401 })
  net.node().admit()
  const eve = net.client('/nowhere')
  await net.settle()
  t.match(eve.socket.state, { name: 'closed', status: 404 }, 'by the app itself')
  await net.close()
})

t.test('an app of its own is built with what it is given, and its clients may bear headers', async t => {
  const { fastify } = await import('fastify')
  const { act, channels } = await import('../../plugins/index.ts')
  const net = await roomNet({
    app: async ({ clock }, index) => {
      const app = fastify()
      await app.register(channels, {
        clock,
        profile: ({ headers }) => (headers['x-user'] === undefined ? null : { id: String(headers['x-user']) })
      })
      app.get(
        '/socket',
        act('socket', async (app, ps) => void (await app.sockets.upgrade(ps, `of-${ps.profile?.id}-${index}`)))
      )
      return app
    }
  })
  const ada = net.client('/socket', { headers: { 'x-user': 'ada' } })
  await net.settle()
  t.same(ada.joined, ['of-ada-0', 'user-ada'])
  await net.node().app.sockets.sendToUser('ada', { cmd: 'hello', param: 1 })
  await net.settle()
  t.strictSame(ada.params('user-ada'), [1])
  await net.close()
})

t.test('net: a link may be reset at any moment of its making', async t => {
  const sim = await roomNet({ latencyMs: [0, 10], options, setup: () => {} })
  for (let ms = 0; ms < 60; ms++) {
    const client = sim.client({ profile: { id: `u${ms}` }, socket })
    await sim.advance(ms / 2)
    client.reset()
    await sim.advance(1_000)
    t.equal(client.socket.state.name, 'connected', `after ${ms / 2} ms`)
  }
  await sim.close()
})
