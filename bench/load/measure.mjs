// One measurement: a server that is started for it, and the load generator against it.
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { load } from './load.mjs'
import { DIALS, MESSAGES, start } from './servers.mjs'

/** What stands before the server's command and before the load generator's: each has a core of its own, where there are two. */
export const pins =
  availableParallelism() < 2 || process.platform !== 'linux'
    ? [[], []]
    : [
        ['taskset', '-c', '0'],
        ['taskset', '-c', '1']
      ]

let told = false

/**
 * @param {string} name of the server
 * @param {{ load: object, key: string, env?: Record<string, string>, warm?: number, times?: number, beside?: object }} options as a scenario has them
 */
export async function measure(name, { load: options, key, env = {}, warm = 0, times = 1, beside }) {
  const { server, stop } = await startAlone(name, env)
  try {
    const other = beside === undefined ? null : load({ ...DIALS[name], ...beside, port: server.port }, pins[1])
    if (beside !== undefined) await new Promise(resolve => setTimeout(resolve, 3_000))
    for (let i = 0; i < warm; i++) await measureOn(server, options)
    const runs = []
    for (let i = 0; i < times; i++) runs.push(await measureOn(server, options))
    await other
    return runs.sort((a, b) => a[key] - b[key])[Math.floor(times / 2)]
  } finally {
    await stop()
  }
}

/** Starts a server on its core, with a folder of its own. @param {string} name @param {Record<string, string>} [env] */
export async function startAlone(name, env = {}) {
  const folder = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'fastify-channels-bench-'))
  const own = Object.entries(env).map(([key, value]) => [key, value.replace('DISK', join(folder, 'log.db'))])
  const server = await start(name, { env: Object.fromEntries(own), pin: pins[0] })
  const stop = async () => {
    if (name === 'ours' && !told) console.log(server.said)
    told ||= name === 'ours'
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
  return { server, stop }
}

/** One load on a server that runs. @param {{ name: string, port: number, pid: number }} server @param {object} options */
export function measureOn({ name, port, pid }, options) {
  const msg = MESSAGES[name]?.[options.mode]
  return load({ ...DIALS[name], ...options, ...(msg === undefined ? {} : { msg }), port, pid }, pins[1])
}
