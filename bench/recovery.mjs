// Many clients that come back at once after a restart of a server whose log is on disk: each dials as soon as the server
// listens, without any backoff, and is owed the same number of publications.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import { load } from './load/load.mjs'
import { DIALS, start } from './load/servers.mjs'

/** @param {{ conns: number, owed: number }} sizes @param {string[][]} pins */
export async function recovery({ conns, owed }, pins) {
  const folder = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'fastify-channels-bench-'))
  const env = { LOG: '1', BROKER: `sqlite:${join(folder, 'log.db')}` }
  try {
    const before = await start('ours', { env, pin: pins[0] })
    const position = await publish(before.port, owed)
    await before.stop()
    const server = await start('ours', { env, pin: pins[0], port: before.port })
    await server.lateness()
    const resume = Buffer.from(JSON.stringify({ s: null, n: 0, p: { bench: position } })).toString('base64url')
    const { path, ready } = DIALS.ours
    const figures = await load(
      {
        ...{ mode: 'recover', conns, concurrency: conns, expect: owed, sources: 4, settle: 0, timeout: 60 },
        ...{ path, ready, subprotocol: `channels.v1, resume.${resume}`, port: server.port, pid: server.pid }
      },
      pins[1]
    )
    const { p99, max } = await server.lateness()
    await server.stop()
    return { ...figures, loop_p99_ms: p99, loop_max_ms: max }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Publishes as much again as is owed, and gives the position from which on it is. */
async function publish(port, owed) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${DIALS.ours.path}`, 'channels.v1')
  let position = null
  let acked = 0
  await new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.on('message', data => {
      const { cmd, param } = JSON.parse(String(data))
      if (cmd === '$nack') reject(new Error(`${data}`))
      if (cmd === '$joined') for (let id = 1; id <= 2 * owed; id++) socket.send(message(id))
      if (cmd !== '$ack') return
      acked++
      if (acked === owed) position = param.position
      if (acked === 2 * owed) resolve()
    })
  })
  socket.terminate()
  return [position.epoch, position.offset, position.tag]
}

function message(id) {
  const param = { bs: id, bt: 0, pad: 'x'.repeat(75) }
  return JSON.stringify({ channel: 'bench', cmd: 'msg', id, param })
}
