import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import t from 'tap'
import { checkHouse, MAX_LINES, SOURCE_FOLDERS, type Sources } from './fixtures/house.ts'

const root = join(import.meta.dirname, '..')

t.test('every source keeps to the arrows, to the clock and to a readable length', async t => {
  const sources = readSources([...SOURCE_FOLDERS, 'test/kit'])
  t.ok(sources.size > 10, 'the sources were found')
  t.strictSame(checkHouse(sources), [])
})

t.test('an import against the arrows is found', async t => {
  const planted: readonly (readonly [path: string, line: string, allowed: boolean])[] = [
    // Down, by value.
    ['lib/connection/a.ts', "import { a } from '../protocol/message.ts'", true],
    ['lib/channel/a.ts', "import { a } from '../connection/registry.ts'", true],
    ['lib/channel/a.ts', "export * from '../broker/memory.ts'", true],
    ['lib/inbound/a.ts', "import { a } from '../broker/broker.ts'", true],
    ['lib/service.ts', "import { a } from './connection/connection.ts'", true],
    ['lib/request/a.ts', "import { a } from '../connection/connection.ts'", true],
    ['plugins/a.ts', "import { a } from '../lib/protocol/index.ts'", true],
    ['plugins/a.ts', "import { a } from '../lib/service.ts'", true],
    ['controllers/a.ts', "import { a } from '../lib/request/act.ts'", true],
    ['client/a.ts', "import { a } from '../lib/protocol/position.ts'", true],
    ['test/kit/a.ts', "import { a } from '../../client/socket.ts'", true],
    // What all may import.
    ['lib/broker/a.ts', "import { a } from '../errors.ts'", true],
    ['controllers/a.ts', "import { a } from '../lib/stats.ts'", true],
    ['lib/errors.ts', "import createError from '@fastify/error'", true],
    ['lib/protocol/a.ts', "import { a } from '../errors.ts'", false],
    ['client/a.ts', "import { a } from '../lib/errors.ts'", false],
    ['lib/options.ts', "import { a } from './errors.ts'", true],
    ['lib/options.ts', "import { a } from './stats.ts'", false],
    ['lib/options.ts', "import type { A } from './stats.ts'", true],
    ['lib/errors.ts', "import { a } from './options.ts'", false],
    ['lib/stats.ts', "import { a } from './connection/registry.ts'", false],
    ['lib/stats.ts', "import type { A } from './connection/registry.ts'", false],
    ['lib/options.ts', "import createError from '@fastify/error'", false],
    // Sideways: types only.
    ['lib/channel/a.ts', "import { a } from '../inbound/dispatcher.ts'", false],
    ['lib/channel/a.ts', "import type { A } from '../inbound/dispatcher.ts'", true],
    ['lib/connection/a.ts', "import { a } from '../broker/memory.ts'", false],
    ['lib/connection/a.ts', "import type { A } from '../broker/broker.ts'", true],
    ['lib/service.ts', "import { a } from './request/act.ts'", false],
    ['lib/service.ts', "import type { A } from './request/act.ts'", true],
    ['controllers/a.ts', "import { a } from '../lib/service.ts'", false],
    ['controllers/a.ts', "import type { A } from '../lib/service.ts'", true],
    ['controllers/a.ts', "import { a } from '../plugins/index.ts'", false],
    ['controllers/a.ts', "import type { A } from '../plugins/index.ts'", true],
    ['controllers/a.ts', "import { type A } from '../plugins/index.ts'", false],
    ['controllers/a.ts', "const a = await import('../plugins/index.ts')", false],
    // Up: never.
    ['lib/connection/a.ts', "import { a } from '../channel/channel.ts'", false],
    ['lib/connection/a.ts', "import type { A } from '../channel/channel.ts'", false],
    ['lib/connection/a.ts', "type A = import('../channel/channel.ts').A", false],
    ['lib/channel/a.ts', "import type { A } from '../service.ts'", false],
    ['lib/request/a.ts', "import type { A } from '../../plugins/channels.ts'", false],
    ['lib/channel/a.ts', "import type { A } from '../../client/socket.ts'", false],
    ['lib/channel/a.ts', "export type { A } from '../../controllers/index.ts'", false],
    ['plugins/a.ts', "import type { A } from '../test/kit/kit.ts'", false],
    // The protocol and the client run anywhere.
    ['lib/protocol/a.ts', "import type { A } from '../connection/connection.ts'", false],
    ['lib/protocol/a.ts', "import { a } from 'node:crypto'", false],
    ['lib/protocol/a.ts', "import type { A } from '@sinclair/typebox'", true],
    ['lib/protocol/a.ts', "import { Type } from '@sinclair/typebox'", false],
    ['lib/protocol/index.ts', "export { Type } from '@sinclair/typebox'", true],
    ['client/a.ts', "import { Type } from '@sinclair/typebox'", false],
    ['client/a.ts', "import type { A } from '@sinclair/typebox'", true],
    ['client/a.ts', "import { Type } from '../lib/protocol/index.ts'", false],
    ['client/a.ts', "import type { A } from '../lib/protocol/index.ts'", true],
    ['client/a.ts', "import WebSocket from 'ws'", false],
    ['client/a.ts', "import type { A } from '../lib/connection/transport.ts'", false],
    // Fastify stays at the edge.
    ['lib/connection/a.ts', "import type { FastifyInstance } from 'fastify'", false],
    ['lib/inbound/a.ts', "import websocket from '@fastify/websocket'", false],
    ['lib/request/a.ts', "import type { FastifyRequest } from 'fastify'", true],
    // Places.
    ['lib/surprise.ts', '', false],
    ['lib/surprise/a.ts', '', false],
    ['plugins/a.ts', "import { a } from '../examples/demo/server.ts'", false],
    ['plugins/a.ts', "import { Socket } from 'fastify-channels/client'", false]
  ]
  for (const [path, line, allowed] of planted) {
    const found = checkHouse(new Map([[path, `${line}\n`]]))
    t.equal(found.length, allowed ? 0 : 1, `${path}: ${line || 'a file'} is ${allowed ? 'allowed' : 'refused'}`, {
      found
    })
  }
})

t.test('time and chance from the machine are found outside the two clocks', async t => {
  const refused = [
    'setTimeout(task, 1)',
    'const later = setInterval',
    'globalThis.setImmediate(task)',
    'const now = Date.now()',
    'const now = new Date()',
    'const id = crypto.randomUUID()',
    "import { randomBytes } from 'node:crypto'",
    "import { setTimeout } from 'node:timers/promises'",
    'const a = { soon: setImmediate }',
    'const n = Math.random() + performance.now()'
  ]
  for (const line of refused) {
    t.not(checkHouse(new Map([['lib/channel/a.ts', line]])).length, 0, line)
  }
  const allowed = [
    '// setTimeout(task, 1)',
    "const text = 'Date.now()'",
    'clock.setTimeout(task)',
    'interface A { setTimeout(ms: number): void }',
    'const date = new Date(clock.wall())',
    "import { createHash } from 'node:crypto'"
  ]
  for (const line of allowed) {
    t.strictSame(checkHouse(new Map([['lib/channel/a.ts', line]])), [], line)
  }
  t.strictSame(checkHouse(new Map([['client/clock.ts', 'setTimeout(task, Math.random())']])), [])
})

t.test('a file over the length is found', async t => {
  t.strictSame(checkHouse(new Map([['client/a.ts', '\n'.repeat(MAX_LINES)]])), [])
  t.equal(checkHouse(new Map([['client/a.ts', '\n'.repeat(MAX_LINES + 1)]])).length, 1)
})

function readSources(folders: readonly string[]): Sources {
  const sources = new Map<string, string>()
  for (const folder of folders.filter(name => existsSync(join(root, name)))) {
    for (const entry of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      const path = `${folder}/${entry.split(sep).join('/')}`
      if (path.endsWith('.ts')) sources.set(path, readFileSync(join(root, path), 'utf8'))
    }
  }
  return sources
}
