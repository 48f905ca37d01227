// The servers that are measured, each in a process of its own.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
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

/** Messages as each server takes them, 150 bytes long. */
export const MESSAGES = {
  ours: {
    pub: '{"channel":"bench","cmd":"msg","param":{"bs":{s},"bt":{t},"pad":"{pad}"}}',
    echo: '{"channel":"bench","cmd":"echo","id":{s},"param":{"bs":{s},"bt":{t},"pad":"{pad}"}}'
  },
  socketio: {
    pub: '42["msg",{"channel":"bench","cmd":"msg","param":{"bs":{s},"bt":{t},"pad":"{pad}"}}]',
    echo: '42["echo",{"channel":"bench","cmd":"echo","param":{"bs":{s},"bt":{t},"pad":"{pad}"}}]'
  }
}

/**
 * Starts a server and resolves once it listens: on a free port, unless it is given one.
 * @param {keyof typeof PATHS} name
 * @param {{ env?: Record<string, string>, pin?: string[], port?: number }} [options]
 */
export async function start(name, { env = {}, pin = [], port: given } = {}) {
  let path = PATHS[name]
  if (name === 'ours' && !existsSync(path)) throw new Error('npm run build comes first')
  if (name in ON_DEMAND) path = install(path, ON_DEMAND[name])
  const port = given ?? (await freePort())
  const flags = ['--require', join(import.meta.dirname, 'probe.cjs')]
  const [command, ...args] = [...pin, process.execPath, ...flags, path]
  const child = spawn(command, args, {
    env: { ...process.env, NODE_ENV: 'production', PORT: String(port), ...env },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc']
  })
  let said = ''
  child.stderr.on('data', data => {
    said += data
  })
  const exit = once(child, 'exit')
  // Ours says so itself, to the millisecond.
  if (name === 'ours') await Promise.race([once(child, 'message'), failed(exit)])
  else await listening(port, failed(exit))
  return {
    name,
    port,
    pid: child.pid,
    /** What it has told of itself. */
    get said() {
      return said.trim()
    },
    /** How late its event loop was since this was last asked, in milliseconds. */
    async lateness() {
      child.send('lateness')
      return (await once(child, 'message'))[0]
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

/** Null where it has not been asked for. */
export function versionOf(dependency) {
  const folder = existsSync(join(installed, dependency)) ? join(installed, dependency) : root
  const file = join(folder, 'node_modules', dependency, 'package.json')
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version : null
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

function failed(exit) {
  const over = exit.then(([code]) => Promise.reject(new Error(`the server ended: ${code}`)))
  over.catch(() => {})
  return over
}

async function listening(port, over) {
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
    if (open) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
