// What is measured: how the load generator is called, which peers take part, and what is compared.

import { recovery } from './recovery.mjs'

/**
 * @typedef {object} Scenario
 * @property {string} about
 * @property {Record<string, string | number | true>} [load] options of the load generator
 * @property {(pins: string[][]) => Promise<Record<string, number>>} [run] in place of the load, where ours is measured in a way of its own
 * @property {readonly string[]} [peers]
 * @property {{ name: string, env?: Record<string, string>, load?: Scenario['load'] }} [against] ours, in another way
 * @property {Scenario['load']} [beside] a load that begins before the one that counts, and outlasts it
 * @property {string} key the figure of the load generator that is compared
 * @property {'more' | 'less'} better
 * @property {Record<string, number>} goals per peer, the least (or the most) ratio of ours to it
 * @property {Record<string, number>} [most] what figures of ours may be at most, whatever the peers are
 * @property {number} [warm] how often the load comes before the one that counts, to the same server
 * @property {number} [times] how often it is measured then, of which the median counts; once unless it is told
 * @property {Record<string, string>} [env] of our server; DISK stands for a new file's path
 */

const OTHERS = ['ws', 'socketio']
const fan = { mode: 'pub', depth: 2, warmup: 1, duration: 3 }
const listen = { mode: 'listen', warmup: 1, duration: 3 }

/** @type {Readonly<Record<string, Scenario>>} */
export const SCENARIOS = {
  'fan-100': {
    about: 'one publisher, 100 subscribers, two messages under way: deliveries a second',
    load: { ...fan, conns: 100 },
    ...{ peers: OTHERS, key: 'deliveries_s', better: 'more', goals: { ws: 1.3, socketio: 1.6 } }
  },
  'fan-1000': {
    about: 'one publisher, 1,000 subscribers, two messages under way: deliveries a second',
    load: { ...fan, conns: 1000 },
    ...{ peers: OTHERS, key: 'deliveries_s', better: 'more', goals: { ws: 1.8, socketio: 2.2 } }
  },
  'burst20-1000': {
    about: '20 messages in one write, 1,000 subscribers: deliveries a second',
    load: { ...fan, conns: 1000, burst: 20 },
    ...{ peers: OTHERS, key: 'deliveries_s', better: 'more', goals: { ws: 25, socketio: 30 } }
  },
  'over-1000': {
    about: '400 messages a second to 1,000 subscribers: p99 of the latency, in µs',
    load: { mode: 'pub', conns: 1000, rate: 400, warmup: 1, duration: 4 },
    ...{ peers: OTHERS, key: 'p99_us', better: 'less', goals: {}, most: { p99_us: 40_000, lost: 0 } }
  },
  'lat-100': {
    about: '250 messages a second to 100 subscribers: p50 of the latency, in µs',
    load: { mode: 'pub', conns: 100, rate: 250, warmup: 1, duration: 4 },
    ...{ peers: OTHERS, key: 'p50_us', better: 'less', goals: { ws: 1.3 } }
  },
  'lat-1000': {
    // Of a publication in a hundred p99 is all there is: what a thousand handshakes left behind is collected before.
    about: '25 messages a second to 1,000 subscribers, after five seconds of it: p99 of the latency, in µs',
    load: { mode: 'pub', conns: 1000, rate: 25, warmup: 5, duration: 4 },
    ...{ peers: OTHERS, key: 'p99_us', better: 'less', goals: { ws: 1, socketio: 0.75 } }
  },
  'lat-1000-early': {
    about: '25 messages a second to 1,000 subscribers, after one second of it: p99 of the latency, in µs',
    load: { mode: 'pub', conns: 1000, rate: 25, warmup: 1, duration: 4 },
    ...{ peers: OTHERS, key: 'p99_us', better: 'less', goals: { ws: 1, socketio: 0.75 } }
  },
  idle: {
    about: '8,000 connections that are members of one channel: bytes each, after a full collection',
    load: { mode: 'idle', conns: 8000, duration: 2, settle: 2000, gc: true, sources: 4, timeout: 120 },
    peers: ['fastify-websocket', 'socketio'],
    ...{
      key: 'rss_per_conn_b',
      better: 'less',
      goals: { 'fastify-websocket': 0.8, socketio: 0.45 },
      most: { rss_per_conn_b: 7_680 }
    }
  },
  handshake: {
    about:
      '3,000 handshakes, 100 at once, each joined to a channel, five times on a server that has had 18,000: handshakes a second',
    warm: 6,
    times: 5,
    load: { mode: 'connect', conns: 3000, sources: 4 },
    peers: ['fastify-websocket', 'socketio'],
    ...{ key: 'handshakes_s', better: 'more', goals: { 'fastify-websocket': 0.85, socketio: 1.6 } }
  },
  'handshake-early': {
    about: 'the first 3,000 handshakes of a process, 100 at once, each joined to a channel: handshakes a second',
    load: { mode: 'connect', conns: 3000, sources: 4 },
    ...{ peers: ['fastify-websocket', 'socketio'], key: 'handshakes_s', better: 'more', goals: {} }
  },
  echo: {
    about: '200 clients, four commands under way each, every one with an id and acked, three times: commands a second',
    times: 3,
    load: { mode: 'echo', conns: 200, depth: 4, warmup: 1, duration: 3 },
    ...{ peers: OTHERS, key: 'deliveries_s', better: 'more', goals: { ws: 1.2 } }
  },
  'recovery-2000': {
    about:
      '2,000 clients come back at once after a restart, each owed 100 publications of a log on disk: ms from `listening` till all have them',
    run: pins => recovery({ conns: 2000, owed: 100 }, pins),
    ...{ key: 'recovered_ms', better: 'less', goals: {}, most: { recovered_ms: 3_000, loop_p99_ms: 100 } }
  },
  'presence-churn': {
    about:
      '3,000 users come to a channel whose 1,000 members are told of each, against one whose members are not: handshakes a second',
    load: { mode: 'connect', conns: 3000, sources: 4 },
    beside: { mode: 'idle', conns: 1000, duration: 15, settle: 0, sources: 4 },
    warm: 1,
    env: { PRESENCE: '1' },
    against: { name: 'untold', env: {} },
    ...{ key: 'handshakes_s', better: 'more', goals: {} }
  },
  'channels-5000': {
    about:
      '20,000 publications a second by turns to 5,000 channels of two, against 40 to one of 1,000: CPU of a delivery, in ns',
    load: { ...listen, path: '/ws/pair/{i}', conns: 10_000, sources: 4, timeout: 90 },
    env: { PUBLISH: '5000:20000' },
    against: { name: 'one channel', env: { PUBLISH: '0:40' }, load: { ...listen, conns: 1000 } },
    ...{ key: 'cpu_ns_per_delivery', better: 'less', goals: { 'one channel': 1.5 } }
  },
  'sqlite-fan-100': {
    about:
      'fan-100 in a channel whose log is on disk before anybody hears of it, against one in memory: deliveries a second',
    load: { ...fan, conns: 100 },
    env: { LOG: '1', BROKER: 'sqlite:DISK' },
    against: { name: 'in memory', env: { LOG: '1' } },
    ...{ key: 'deliveries_s', better: 'more', goals: {} }
  },
  'native-fan-1000': {
    about:
      'fan-1000 with the native add-on, against without: CPU of a delivery, in ns (npm run build:native comes first)',
    load: { ...fan, conns: 1000 },
    env: { NATIVE: 'io_uring' },
    against: { name: 'without' },
    ...{ key: 'cpu_ns_per_delivery', better: 'less', goals: {} }
  },
  'native-lat-1000': {
    about: 'lat-1000 with the native add-on, against without: CPU of a delivery, in ns',
    load: { mode: 'pub', conns: 1000, rate: 25, warmup: 1, duration: 4 },
    env: { NATIVE: 'io_uring' },
    against: { name: 'without' },
    ...{ key: 'cpu_ns_per_delivery', better: 'less', goals: {} }
  },
  'log-fan-1000': {
    about: 'fan-1000 in a channel with a log, against one without: CPU of a delivery, in ns',
    load: { ...fan, conns: 1000 },
    env: { LOG: '1' },
    against: { name: 'without' },
    ...{ key: 'cpu_ns_per_delivery', better: 'less', goals: { without: 1.2 } }
  },
  'log-burst20-1000': {
    about: 'burst20-1000 in a channel with a log, against one without: CPU of a delivery, in ns',
    load: { ...fan, conns: 1000, burst: 20 },
    env: { LOG: '1' },
    against: { name: 'without' },
    ...{ key: 'cpu_ns_per_delivery', better: 'less', goals: { without: 1.2 } }
  }
}
