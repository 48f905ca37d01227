// The servers that are measured, each in a process of its own.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
const peers = join(root, 'bench/peers')
/** Peers that are no dependency of ours, installed where they are first asked for. */
const installed = join(root, 'bench/.peers')
const ON_DEMAND = { socketio: 'socket.io' }

const PATHS = {
  ours: join(root, 'dist/bench/server.js'),
  ws: join(peers, 'ws.mjs'),
  'fastify-websocket': join(peers, 'fastify-websocket.mjs'),
  socketio: join(peers, 'socketio.mjs')
}

/** How a client of each joins the channel `bench`, and what tells it that it has. */
export const DIALS = {
  ours: { path: '/ws/bench', subprotocol: 'channels.v1', ready: '$joined' },
  ws: { init: '{"cmd":"join","channel":"bench"}', ready: 'joined' },
  'fastify-websocket': { init: '{"cmd":"join","channel":"bench"}', ready: 'joined' },
  socketio: { proto: 'sio', init: '42["join","bench"]', ready: 'joined' }
}

/**
 * Starts a server and resolves once it listens.
 * @param {keyof typeof PATHS} name
 * @param {{ env?: Record<string, string>, pin?: string[] }} [options]
 */
export async function start(name, { env = {}, pin = [] } = {}) {
  let path = PATHS[name]
  if (name === 'ours' && !existsSync(path)) throw new Error('npm run build comes first')
  if (name in ON_DEMAND) path = install(path, ON_DEMAND[name])
  const port = await freePort()
  const flags = ['--require', join(import.meta.dirname, 'gc.cjs')]
  const [command, ...args] = [...pin, process.execPath, ...flags, path]
  const child = spawn(command, args, {
    env: { ...process.env, NODE_ENV: 'production', PORT: String(port), ...env },
    stdio: ['ignore', 'ignore', 'pipe']
  })
  let said = ''
  child.stderr.on('data', data => {
    said += data
  })
  const exit = once(child, 'exit')
  await listening(port, exit)
  return {
    name,
    port,
    pid: child.pid,
    /** What it has told of itself. */
    get said() {
      return said.trim()
    },
    async stop() {
      child.kill('SIGKILL')
      await exit
    }
  }
}

/** A peer's program must lie where Node finds what it imports. */
function install(path, dependency) {
  const folder = join(installed, dependency)
  const target = join(folder, 'server.mjs')
  if (!existsSync(join(folder, 'node_modules', dependency))) {
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'package.json'), '{"private":true}')
    execFileSync('npm', ['install', '--silent', '--ignore-scripts', `${dependency}@latest`], {
      cwd: folder,
      stdio: 'inherit'
    })
  }
  writeFileSync(target, `import ${JSON.stringify(path)}\n`)
  execFileSync('cp', [path, target])
  return target
}

export function versionOf(dependency) {
  const folder = existsSync(join(installed, dependency)) ? join(installed, dependency) : root
  return JSON.parse(execFileSync('cat', [join(folder, 'node_modules', dependency, 'package.json')])).version
}

async function freePort() {
  const { createServer } = await import('node:net')
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

async function listening(port, exit) {
  const over = exit.then(([code]) => Promise.reject(new Error(`the server ended: ${code}`)))
  for (;;) {
    const socket = connect({ port, host: '127.0.0.1' })
    const open = await Promise.race([
      once(socket, 'connect').then(
        () => true,
        () => false
      ),
      over
    ])
    socket.destroy()
    if (open) {
      over.catch(() => {})
      return
    }
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
