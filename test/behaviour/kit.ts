import { execFile } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import t, { type Test } from 'tap'
import { root } from '../fixtures/docs.ts'
import { inMemory, onTcp } from '../fixtures/kit-mirror.ts'
import { netTrace, room, roomNet, roomWorld, rules, troubledStory, worldTrace } from '../fixtures/kit-story.ts'
import { createNet } from '../kit/index.ts'

t.test('the same seed gives a byte-identical trace, and another seed another one', async t => {
  for (const [name, trace] of [
    ['a net', netTrace],
    ['a world', worldTrace]
  ] as const) {
    const first = await trace(7)
    t.ok(first.split('\n').length > 100, `${name} has something to tell`)
    t.equal(await trace(7), first, `${name}, once more`)
    t.not(await trace(8), first, `${name}, another seed`)
  }
})

/** What a program says that is run by itself: without tap's loaders, and without the price of a coverage. */
async function alone(t: Test, name: string, contents: string): Promise<string> {
  const folder = join(root, 'node_modules', '.cache', `kit-${process.pid}-${name}`)
  mkdirSync(folder, { recursive: true })
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const outfile = join(folder, 'story.mjs')
  await build({
    stdin: { contents, resolveDir: root, loader: 'ts' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    outfile
  })
  const { NODE_OPTIONS: _, NODE_V8_COVERAGE: __, ...env } = process.env
  const { stdout } = await promisify(execFile)(process.execPath, [outfile], { env, maxBuffer: 1e8, timeout: 60_000 })
  return stdout
}

t.test('it is the same in another process, which ends by itself', async t => {
  const contents = `import { netTrace, worldTrace } from './test/fixtures/kit-story.ts'
    process.stdout.write(await netTrace(7) + await worldTrace(7))`
  t.ok((await alone(t, 'traces', contents)) === (await netTrace(7)) + (await worldTrace(7)), 'byte by byte')
})

t.test('ten minutes of reconnecting take less than a second', async t => {
  const began = performance.now()
  const net = await roomNet()
  const ada = net.client({ profile: { id: 'ada' } })
  ada.socket.join('room-:n', { n: '1' })
  for (let minute = 0; minute < 10; minute++) {
    await net.advance(30_000)
    if (minute % 2 === 0) ada.cut()
    else ada.reset()
    await net.advance(30_000)
    t.equal(ada.socket.state.name, 'connected', `minute ${minute}`)
  }
  t.equal(net.now, 600_000)
  t.equal(ada.connections, 11)
  await net.close()
  const took = performance.now() - began
  t.ok(took < 1_000, `${took.toFixed(0)} ms`)
})

t.test('whoever sends faster than allowed is slowed down, and time goes on', async t => {
  for (let seed = 1; seed <= 6; seed++) {
    const net = await roomNet({ seed, latencyMs: [1, 30] })
    const ann = net.client({ profile: { id: 'ann' } })
    const room = ann.socket.join('room-:n', { n: '1' })
    await net.advance(1_000)
    for (let i = 0; i < 150; i++) void room.send('say', { n: i })
    await net.advance(60_000)
    t.equal(ann.params('room-1').length, 150)
    await net.expectNoLoss()
    await net.close()
  }
})

t.test('what is refused for now leaves again alone, and not with all that waits behind it', async t => {
  const world = await roomWorld({
    limits: { messagesPerSecond: 0 },
    latencyMs: [1, 30],
    setup: sockets => void sockets.serve(room, { ...rules, limits: { messagesPerSecond: 10 } })
  })
  const ann = world.client({ profile: { id: 'ann' } })
  const channel = ann.socket.join('room-:n', { n: '1' })
  await world.advance(1_000)
  const acked: number[] = []
  for (let n = 0; n < 300; n++) void channel.send('say', { n }).then(() => acked.push(n))
  await world.advance(45_000)
  t.strictSame(acked, [...Array(300).keys()])
  const frames = world.trace.match(/"cmd":"say"/g) ?? []
  t.ok(frames.length < 900, `${frames.length} frames for 300 commands`)
  await world.close()
})

t.test('no port is opened, and nothing is left when a net is closed', async t => {
  const before = process.getActiveResourcesInfo().sort()
  const net = await roomNet({ nodes: 2 })
  await troubledStory(net, 10)
  for (const { app } of net.nodes) t.notOk(app.server.listening)
  t.strictSame(process.getActiveResourcesInfo().sort(), before, 'no sockets, no timers while it runs')
  await net.close()
  t.equal(net.pending, 0)
  t.strictSame(process.getActiveResourcesInfo().sort(), before)
  for (const node of net.nodes) {
    t.equal(node.state, 'down')
    t.equal(node.leftTimers, 0, 'an app that closes leaves no timer')
  }
  await net.close()
})

t.test('a net may be disposed of by its block', async t => {
  let held: { readonly pending: number } | null = null
  {
    await using net = await createNet()
    held = net
    net.client()
    await net.settle()
  }
  t.equal(held.pending, 0)
})

t.test('a story that is told on TCP too has the same events', async t => {
  const told = await inMemory()
  t.same(told.ada!.slice(0, 4), ['connected', 'open false', 'joined client fresh', 'room-1 said {"n":1} ada'])
  t.same(told.eve!.slice(0, 2), ['closed', 'close 1006 true 401'])
  t.ok(told.ada!.includes('close 1012 false undefined'))
  t.strictSame(await onTcp(), told)
})

t.test('worlds run at least fifty stories a second', async t => {
  // Of the process's own time: what else the machine does is not the kit's to answer for.
  const contents = `import { roomWorld, troubledStory } from './test/fixtures/kit-story.ts'
    const cpu = () => (process.cpuUsage().user + process.cpuUsage().system) / 1e6
    let best = 0
    // The first of them still teach the compiler.
    for (let chunk = 0; chunk < 5 && best < 50; chunk++) {
      const began = cpu()
      for (let seed = 1; seed <= 40; seed++) {
        const world = await roomWorld({ seed: chunk * 40 + seed, latencyMs: [0, 20] })
        await troubledStory(world, 20)
        await world.close()
      }
      best = Math.max(best, 40 / (cpu() - began))
    }
    process.stdout.write(String(best))`
  const best = Number(await alone(t, 'speed', contents))
  t.ok(best >= 50, `${best.toFixed(0)} stories a second`)
})
