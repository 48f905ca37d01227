import t from 'tap'
import { sampleText } from '../fixtures/docs.ts'
import { room, roomNet, roomWorld, rules, troubledStory } from '../fixtures/kit-story.ts'
import { FAULTS } from '../kit/index.ts'

const log = { entries: 50, ageMs: 60_000, bytes: 100_000 }
const logged = { ...rules, log }
const socket = { backoff: { minMs: 10, maxMs: 1_000 } }

t.test('the test of loss, reconnect and expiry in docs/testing.md has at most fifteen lines', async t => {
  t.ok(sampleText('testing-net.ts#test').trimEnd().split('\n').length <= 15)
})

t.test('what was missed is recovered, and what has expired is a gap', async t => {
  const net = await roomNet({ setup: app => void app.sockets.serve(room, logged) })
  const ada = net.client({ profile: { id: 'ada' }, socket })
  ada.socket.join('room-:n', { n: '1' })
  await net.settle()
  const say = (n: number) => net.node().app.sockets.broadcast('room-1', { cmd: 'said', param: { n } })
  await say(1)
  await net.settle()
  ada.reset()
  await say(2)
  await net.advance(30_000)
  t.strictSame(ada.params('room-1'), [{ n: 1 }, { n: 2 }])
  t.match(ada.outcomes('room-1'), [{ kind: 'fresh' }, { kind: 'recovered', from: 1, to: 2 }])
  ada.offline()
  for (let n = 3; n <= 103; n++) await say(n)
  await net.advance(120_000)
  ada.online()
  await net.advance(30_000)
  t.match(ada.outcomes('room-1').at(-1), { kind: 'gap', from: 2, to: 103, reason: 'trimmed' })
  await net.expectNoLoss()
  await net.close()
})

t.test('a killed node comes back with its store, or without', async t => {
  for (const store of [true, false]) {
    const net = await roomNet({ setup: app => void app.sockets.serve(room, logged) })
    const ada = net.client({ profile: { id: 'ada' }, socket })
    const channel = ada.socket.join('room-:n', { n: '1' })
    await net.settle()
    await net.settle(channel.send('say', { n: 1 }))
    net.node().kill()
    await net.settle()
    await net.node().restart({ store })
    const again = channel.send('say', { n: 2 })
    await net.advance(20_000)
    t.match(await net.settle(again), { stored: 'disk' })
    const outcome = store ? { kind: 'recovered', from: 1, to: 1 } : { kind: 'gap', reason: 'epoch-lost' }
    t.match(ada.outcomes('room-1').at(-1), outcome)
    await net.expectNoLoss()
    await net.close()
  }
})

t.test('an entry that a node did not get is found, and a store that fails is told', async t => {
  const net = await roomNet({ nodes: 2, setup: app => void app.sockets.serve(room, logged) })
  const [ada, bob] = ['ada', 'bob'].map((id, node) => net.client({ profile: { id }, node, socket }))
  for (const client of [ada!, bob!]) client.socket.join('room-:n', { n: '1' })
  await net.settle()
  const say = (n: number) => ada!.socket.channel('room-:n', { n: '1' }).send('say', { n })
  net.node(1).loseNext()
  await net.settle(Promise.all([say(1), say(2)]))
  t.strictSame(bob!.params('room-1'), [{ n: 1 }, { n: 2 }])
  net.node(0).failNext('commit')
  const sent = say(3)
  await net.advance(20_000)
  t.match(await net.settle(sent), { stored: 'disk' }, 'it was tried again')
  await net.expectNoLoss()
  await net.close()
})

t.test('whatever goes wrong, nothing is lost in silence', async t => {
  const faults = FAULTS.filter(fault => fault !== 'kill-and-wipe')
  for (let seed = 1; seed <= 40; seed++) {
    const world = await roomWorld({
      seed,
      nodes: 1 + (seed % 2),
      latencyMs: [0, 20],
      brokerMs: seed % 3 === 0 ? [0, 30] : [0, 0],
      setup: sockets => void sockets.serve(room, logged)
    })
    await troubledStory(world, 40, faults, seed % 4 === 0 ? 3_000 : 0)
    t.ok(world.stored('room-0').length > 0)
    await world.close()
  }
  for (let seed = 1; seed <= 5; seed++) {
    const net = await roomNet({
      seed,
      nodes: 2,
      latencyMs: [0, 20],
      setup: app => void app.sockets.serve(room, logged)
    })
    await troubledStory(net, 30, faults)
    await net.close()
  }
})

t.test('what was held back while the state was loaded is heard before the outcome of the next join', async t => {
  const world = await roomWorld({ setup: sockets => void sockets.serve(room, logged) })
  const ada = world.client({ profile: { id: 'ada' }, socket })
  const loadState = () => new Promise<void>(resolve => void world.clock.after(2_000, resolve))
  ada.socket.join('room-:n', { n: '1' }, { loadState })
  await world.advance(500)
  world.node().broadcast('room-1', { cmd: 'said', param: { n: 1 } })
  await world.advance(100)
  ada.reset()
  await world.advance(1_000)
  t.strictSame(ada.outcomes('room-1'), [{ kind: 'fresh' }])
  await world.advance(10_000)
  t.strictSame(ada.outcomes('room-1').at(-1), { kind: 'recovered', from: 1, to: 1 })
  t.strictSame(ada.params('room-1'), [{ n: 1 }])
  await world.expectNoLoss()
  await world.close()
})

t.test('who comes to a node that is behind is sent nothing again, whatever the store answers', async t => {
  for (const [why, keeps] of [
    ['store-error', log],
    ['trimmed', { ...log, entries: 2 }]
  ] as const) {
    const setup = (sockets: any) => void sockets.serve(room, { ...rules, log: keeps })
    const world = await roomWorld({ nodes: 2, busMs: [3_000, 3_000], setup })
    const [ada, bob] = ['ada', 'bob'].map(id => world.client({ profile: { id }, socket }))
    for (const client of [ada!, bob!]) client.socket.join('room-:n', { n: '1' })
    const say = (n: number) => world.node(0).broadcast('room-1', { cmd: 'said', param: { n } })
    await world.settle()
    for (let n = 1; n <= 4; n++) say(n)
    await world.settle()
    t.strictSame(ada!.params('room-1').length, 4)
    t.strictSame(bob!.params('room-1'), [], 'the other node is behind')
    ada!.offline()
    if (why === 'trimmed') for (let n = 5; n <= 9; n++) say(n)
    else world.node(1).failNext('read', { times: 2 })
    await world.settle()
    world.node(0).kill()
    ada!.online()
    await world.advance(20_000)
    const outcome =
      why === 'trimmed' ? { kind: 'gap', from: 4, to: 9, reason: why } : { kind: 'recovered', from: 4, to: 4 }
    t.match(ada!.outcomes('room-1').at(-1), outcome, why)
    t.equal(ada!.params('room-1').length, 4, why)
    await world.expectNoLoss()
    await world.close()
  }
})
