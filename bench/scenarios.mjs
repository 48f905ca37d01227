// What is measured: how the load generator is called, which peers take part, and what is compared.

/**
 * @typedef {object} Scenario
 * @property {string} about
 * @property {Record<string, string | number | true>} load options of the load generator
 * @property {readonly string[]} peers
 * @property {string} key the figure of the load generator that is compared
 * @property {'more' | 'less'} better
 * @property {Record<string, number>} goals per peer, the least (or the most) ratio of ours to it
 * @property {number} [most] what ours may be at most, whatever the peers are
 * @property {number} [warm] how often the load comes before the one that counts, to the same server
 * @property {Record<string, string>} [env] of our server; a peer `ours` runs without it
 */

const OTHERS = ['ws', 'socketio']
const fan = { mode: 'pub', depth: 2, warmup: 1, duration: 3 }

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
    ...{ peers: OTHERS, key: 'p99_us', better: 'less', goals: {}, most: 40_000 }
  },
  'lat-100': {
    about: '250 messages a second to 100 subscribers: p50 of the latency, in µs',
    load: { mode: 'pub', conns: 100, rate: 250, warmup: 1, duration: 4 },
    ...{ peers: OTHERS, key: 'p50_us', better: 'less', goals: { ws: 1.3 } }
  },
  'lat-1000': {
    about: '25 messages a second to 1,000 subscribers: p99 of the latency, in µs',
    load: { mode: 'pub', conns: 1000, rate: 25, warmup: 1, duration: 4 },
    ...{ peers: OTHERS, key: 'p99_us', better: 'less', goals: { ws: 1, socketio: 0.75 } }
  },
  idle: {
    about: '8,000 connections that are members of one channel: bytes each, after a full collection',
    load: { mode: 'idle', conns: 8000, duration: 2, settle: 2000, gc: true, sources: 4, timeout: 120 },
    peers: ['fastify-websocket', 'socketio'],
    ...{ key: 'rss_per_conn_b', better: 'less', goals: { 'fastify-websocket': 0.8, socketio: 0.45 }, most: 7_680 }
  },
  handshake: {
    about: '3,000 handshakes, 100 at once, each joined to a channel, on a server that has had 6,000: handshakes a second',
    warm: 2,
    load: { mode: 'connect', conns: 3000, sources: 4 },
    peers: ['fastify-websocket', 'socketio'],
    ...{ key: 'handshakes_s', better: 'more', goals: { 'fastify-websocket': 0.85, socketio: 1.6 } }
  },
  echo: {
    about: '200 clients, four commands under way each, every one with an id and acked: commands a second',
    load: { mode: 'echo', conns: 200, depth: 4, warmup: 1, duration: 3 },
    ...{ peers: OTHERS, key: 'deliveries_s', better: 'more', goals: { ws: 1.2 } }
  },
  'log-fan-1000': {
    about: 'fan-1000 in a channel with a log: CPU of a delivery against one without',
    load: { ...fan, conns: 1000 },
    ...{ peers: ['ours'], key: 'cpu_ns_per_delivery', better: 'less', goals: { ours: 1.2 }, env: { LOG: '1' } }
  },
  'log-burst20-1000': {
    about: 'burst20-1000 in a channel with a log: CPU of a delivery against one without',
    load: { ...fan, conns: 1000, burst: 20 },
    ...{ peers: ['ours'], key: 'cpu_ns_per_delivery', better: 'less', goals: { ours: 1.2 }, env: { LOG: '1' } }
  }
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
