import type { Sabotage } from '../patch.ts'

/** Mistakes that a simulation finds within a few hundred seeds. */
export const SIMULATED: ReadonlyArray<Omit<Sabotage, 'finds'>> = [
  {
    name: 'drop-one-in-a-thousand',
    about: 'one publication in a thousand is left out for one member',
    patches: [
      {
        file: 'lib/connection/outbox.ts',
        search: 'this.#frames.push(frames) this.#origins.push(origin)',
        replace: 'if (Math.random() < 0.001) return; this.#frames.push(frames); this.#origins.push(origin)'
      }
    ]
  },
  {
    name: 'swap',
    about: 'two batches of one turn leave in the wrong order, now and then',
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
    about: 'one batch in a thousand is sent twice',
    patches: [
      {
        file: 'lib/connection/outbox.ts',
        search: 'this.#frames.push(frames)',
        replace: 'this.#frames.push(frames); if (Math.random() < 0.001) this.#frames.push(frames)'
      }
    ]
  },
  {
    name: 'ack-though-the-store-failed',
    about: 'a command is acknowledged though its commit failed',
    patches: [
      {
        file: 'lib/inbound/execute.ts',
        search: "observer.failed(error, subscription.connection) return new Refusal('unavailable')",
        replace:
          'return { ack: ackOf(dispatcher, frame.channel, id ?? 1, { reply, position: { epoch: "x", offset: 1, tag: "x" } }), kept: true }'
      }
    ]
  },
  {
    name: 'no-gap',
    about: 'who cannot be given what it missed is told that it missed nothing',
    patches: [
      {
        file: 'lib/channel/recovery.ts',
        search: "this.#enter({ kind: 'gap', ...since, to: position.offset, reason })",
        replace: "void since; this.#enter({ kind: 'recovered', from: position.offset, to: position.offset })"
      }
    ]
  },
  {
    name: 'head-claimed',
    about: 'whoever comes back in the same epoch is taken to stand at the head',
    patches: [
      {
        file: 'lib/channel/registry.ts',
        search: 'else if (samePosition(since, head))',
        replace: 'else if (samePosition(since, head) || since.epoch === head.epoch)'
      }
    ]
  },
  {
    name: 'adjacency-ignored',
    about: 'a node passes on whatever comes, with a hole before it or without',
    patches: [
      {
        file: 'lib/channel/feed.ts',
        search: 'return offset === head.offset + 1 && prev === head.tag && epoch === head.epoch',
        replace: 'void prev; return offset > head.offset && epoch === head.epoch'
      }
    ]
  },
  {
    name: 'epoch-kept-and-tag-ignored',
    about: 'a store that lost its data counts on under the old epoch, and nobody looks at tags',
    patches: [
      {
        file: 'lib/broker/chance.ts',
        search: 'return base64url(clock.randomBytes(EPOCH_BYTES))',
        replace: "void clock; return 'a'.repeat(EPOCH_BYTES)"
      },
      {
        file: 'lib/broker/log.ts',
        search: "return there.tag === tag ? null : 'rewound'",
        replace: 'void there; void tag; return null'
      },
      {
        file: 'lib/protocol/position.ts',
        search: 'return a.offset === b.offset && a.tag === b.tag && a.epoch === b.epoch',
        replace: 'return a.offset === b.offset && a.epoch === b.epoch'
      }
    ],
    brokers: ['memory']
  },
  {
    name: 'trim-marker-ignored',
    about: 'whoever stands before what is kept is given what is kept, without a word',
    patches: [
      {
        file: 'lib/broker/log.ts',
        search: "if (offset < this.#base.offset) return 'trimmed'",
        replace: 'if (offset < this.#base.offset) return null'
      },
      {
        file: 'lib/broker/log.ts',
        search: 'const from = this.#first + (after.offset - this.#base.offset)',
        replace: 'const from = this.#first + Math.max(0, after.offset - this.#base.offset)'
      }
    ],
    brokers: ['memory']
  },
  {
    name: 'page-cut',
    about: 'the first publication of each page of a replay is left out',
    patches: [
      {
        file: 'lib/channel/recovery.ts',
        search: 'for (const entry of result.entries) this.#send(entry)',
        replace: 'for (const entry of result.entries.slice(result.entries.length > 1 ? 1 : 0)) this.#send(entry)'
      }
    ]
  },
  {
    name: 'replay-twice',
    about: 'a replay begins with what its last publication was',
    patches: [
      {
        file: 'lib/channel/recovery.ts',
        search: 'for (const entry of result.entries) this.#send(entry)',
        replace: 'for (const entry of [...result.entries, ...result.entries]) this.#send(entry)'
      }
    ]
  },
  {
    name: 'replay-before-joined',
    about: 'a replay begins before its channel is said to be joined',
    patches: [
      {
        file: 'lib/channel/recovery.ts',
        search: 'if (!this.#enter({',
        replace:
          'for (const entry of result.entries.slice(0, 1)) this.#subscription.connection.sendEncoded(encodeEntry(entry), 1, null); if (!this.#enter({'
      }
    ]
  },
  {
    name: 'live-during-replay',
    about: 'live publications do not wait for the end of a replay',
    patches: [
      {
        file: 'lib/channel/channel.ts',
        search: 'for (const connection of this.#recovering()) except.add(connection) const skipped',
        replace: 'const skipped'
      }
    ]
  },
  {
    name: 'excepted-still-told',
    about: 'who is excepted gets it all the same',
    patches: [
      {
        file: 'lib/connection/address.ts',
        search: 'if (addresses.length === 0) return false',
        replace: 'if (addresses.length >= 0) return false'
      }
    ]
  },
  {
    name: 'skip-left-out',
    about: 'who is excepted is not told that there was something',
    patches: [
      { file: 'lib/channel/channel.ts', search: 'if (skipped.size > 0)', replace: 'if (skipped.size > 1_000_000)' }
    ]
  },
  {
    name: 'idempotency-off',
    about: 'a command that comes again runs again, and is stored again',
    patches: [
      {
        file: 'lib/inbound/sequence.ts',
        search: "if (id <= this.#highest && known?.state !== 'waiting') return 'repeat'",
        replace: 'void known'
      },
      {
        file: 'lib/broker/session-store.ts',
        search:
          "if (result !== null) return { kind: 'earlier', result } return id <= session.highest && !session.holes.includes(id) ? { kind: 'expired' } : null",
        replace: 'void result; return null'
      }
    ],
    brokers: ['memory']
  },
  {
    name: 'later-ids-run',
    about: 'what follows a command that was refused for the moment does not wait for it',
    patches: [
      {
        file: 'lib/inbound/sequence.ts',
        search: 'return { from, running }',
        replace: 'void from; return { from: null, running }'
      }
    ]
  },
  {
    name: 'ack-before-its-publication',
    about: 'answers do not wait for what was published before them',
    patches: [
      {
        file: 'lib/channel/fan-out.ts',
        search: 'if (this.#entries.length === 0) connection.sendEncoded(frame, 1, origin)',
        replace: 'if (this.#entries.length >= 0) connection.sendEncoded(frame, 1, origin)'
      }
    ]
  },
  {
    name: 'revocation-overtaken',
    about: 'access that was taken back while it was being decided is given all the same',
    patches: [
      {
        file: 'lib/channel/registry.ts',
        search: "const wanted = subscription.state === 'joining' && !subscription.overtaken && connection.open",
        replace: "const wanted = subscription.state === 'joining' && connection.open"
      }
    ]
  },
  {
    name: 'ephemeral-kept',
    about: 'ephemeral events go into the log',
    patches: [{ file: 'lib/channel/publisher.ts', search: 'subject?.isEphemeral(cmd) === true ? null :', replace: '' }]
  },
  {
    name: 'log-passed-by',
    about: 'one publication in a hundred is sent and not kept',
    patches: [
      {
        file: 'lib/channel/publisher.ts',
        search: 'subject?.isEphemeral(cmd) === true ? null :',
        replace: 'subject?.isEphemeral(cmd) === true || Math.random() < 0.01 ? null :'
      }
    ]
  },
  {
    name: 'reply-of-another',
    about: 'a command is answered with the reply of the one before',
    patches: [
      {
        file: 'lib/inbound/execute.ts',
        search: 'if (text !== undefined) return text',
        replace:
          'if (text !== undefined) { const before = globalThis.lastReply ?? text; globalThis.lastReply = text; return before }'
      }
    ]
  },
  {
    name: 'stored-twice',
    about: 'one commit in fifty is stored twice',
    patches: [
      {
        file: 'lib/channel/publisher.ts',
        search: 'const committed = this.#broker.commit({ publications, command })',
        replace:
          'const committed = this.#broker.commit({ publications, command }); if (Math.random() < 0.02) void this.#broker.commit({ publications, command: null })'
      }
    ]
  },
  {
    name: 'history-of-everybody',
    about: 'history holds what its reader was excepted from',
    patches: [
      {
        file: 'lib/inbound/history.ts',
        search: 'if (!isAddressed(connection, except)) texts.push',
        replace: 'if (!isAddressed(connection, except) || except.length > 0) texts.push'
      }
    ]
  }
]
