import type { Sabotage } from './patch.ts'

// The patches are held against the sources by test/behaviour/checker.ts: a change that moves one of these places fails there.

export const SABOTAGES: readonly Sabotage[] = [
  {
    name: 'drop-one-in-a-thousand',
    what: 'one publication in a thousand is left out for one member',
    finds: ['silent-hole', 'not-converged', 'early-ack'],
    patches: [
      {
        file: 'lib/connection/outbox.ts',
        search: 'if (this.#closed || this.#bytes > this.#maxBytes) return',
        replace: 'if (this.#closed || this.#bytes > this.#maxBytes || Math.random() < 0.001) return'
      }
    ]
  },
  {
    name: 'swap',
    what: 'two batches of one turn leave in the wrong order, now and then',
    finds: ['reorder', 'silent-hole', 'early-ack'],
    patches: [
      {
        file: 'lib/connection/outbox.ts',
        search: 'this.#frames.push(frames)',
        replace: 'Math.random() < 0.05 ? this.#frames.unshift(frames) : this.#frames.push(frames)'
      }
    ]
  },
  {
    name: 'repeat',
    what: 'one batch in a thousand is sent twice',
    finds: ['duplicate', 'bad-frame'],
    patches: [
      {
        file: 'lib/connection/outbox.ts',
        search: 'this.#frames.push(frames)',
        replace: 'this.#frames.push(frames); if (Math.random() < 0.001) this.#frames.push(frames)'
      }
    ]
  },
  {
    name: 'heartbeat-without-lateness-guard',
    what: 'after a stall of the server, longer than an interval, all clients are taken for silent',
    finds: ['sent-away'],
    patches: [
      {
        file: 'lib/connection/heartbeat.ts',
        search: 'if (lateMs > this.#stepMs) this.#forgive()',
        replace:
          'if (lateMs > this.#stepMs * SLOTS) for (const slot of this.#slots) for (const one of [...slot.keys()]) this.#onSilent(one)'
      }
    ]
  }
]

/** @throws where there is none of that name */
export function sabotage(name: string): Sabotage {
  const found = SABOTAGES.find(entry => entry.name === name)
  if (found === undefined) throw new Error(`no sabotage "${name}"; there are ${SABOTAGES.map(s => s.name).join(', ')}`)
  return found
}
