import type { Sabotage } from './patch.ts'

// Deliberate mistakes, as plain data. test/behaviour/checker.ts holds the patches against the sources: a change that moves
// one of these places fails there. They fit what is compiled as well.

export const SABOTAGES: readonly Sabotage[] = [
  {
    name: 'drop-one-in-a-thousand',
    about: 'one batch of publications in a thousand is left out for one member',
    finds: ['silent-hole', 'not-converged', 'early-ack'],
    patches: [
      {
        file: 'lib/connection/outbox.ts',
        search: 'if (this.#closed || this.#overflown) return if (this.#first === null)',
        replace:
          'if (this.#closed || this.#overflown || (origin !== null && origin.instead === undefined && Math.random() < 0.001)) return ; if (this.#first === null)'
      },
      {
        file: 'lib/connection/outbox.ts',
        search: 'if (this.#closed || this.#overflown) return if (this.#handed',
        replace: 'if (this.#closed || this.#overflown || Math.random() < 0.001) return ; if (this.#handed'
      }
    ]
  },
  {
    name: 'swap',
    about: 'what leaves in one turn leaves in the wrong order, now and then',
    finds: ['reorder', 'silent-hole', 'early-ack', 'foreign', 'bad-frame', 'duplicate'],
    patches: [
      {
        file: 'lib/connection/outbox.ts',
        search: 'transport.write(rest === null ? [first] : [first, ...rest.map(({ frames }) => frames)])',
        replace:
          'transport.write(rest === null ? [first] : Math.random() < 0.05 ? [...rest.map(({ frames }) => frames), first] : [first, ...rest.map(({ frames }) => frames)])'
      }
    ]
  },
  {
    name: 'repeat',
    about: 'one batch in a thousand is sent twice',
    finds: ['duplicate', 'bad-frame'],
    patches: [
      {
        file: 'lib/connection/outbox.ts',
        search: 'transport.write(rest === null ? [first] : [first, ...rest.map(({ frames }) => frames)])',
        replace:
          'transport.write(rest === null ? (origin !== null && Math.random() < 0.001 ? [first, first] : [first]) : [first, ...rest.map(({ frames }) => frames)])'
      },
      {
        file: 'lib/connection/outbox.ts',
        search: 'transport.write(frames)',
        replace: 'transport.write(Math.random() < 0.001 ? [frames[0], frames[0]] : frames)'
      }
    ]
  },
  {
    name: 'alter',
    about: 'one publication in a thousand is not what was sent',
    finds: ['altered'],
    patches: [
      {
        file: 'lib/channel/replay.ts',
        search: 'return encodeText(withPlace(text, offset, tag))',
        replace:
          'return encodeText(withPlace(Math.random() < 0.001 ? text.replace(/(param.*?)(\\d)/, (_, before, digit) => before + ((digit % 9) + 1)) : text, offset, tag))'
      }
    ]
  },
  {
    name: 'heartbeat-without-lateness-guard',
    simulated: 'never',
    about: 'after a stall of the server, longer than an interval, all clients are taken for silent',
    finds: ['sent-away'],
    patches: [
      {
        file: 'lib/connection/heartbeat.ts',
        search: 'if (lateMs > this.#stepMs) this.#forgive()',
        replace:
          'if (lateMs > this.#stepMs * SLOTS) for (const slot of this.#slots) for (const one of [...slot.keys()]) this.#onSilent(one)'
      }
    ]
  },
  {
    name: 'ack-before-the-store',
    about: 'one command in fifty is acknowledged before it is stored',
    finds: ['lost-ack', 'early-ack'],
    patches: [
      {
        file: 'lib/inbound/execute.ts',
        search: 'const committing = publisher.commit(subscription.name, publications, command)',
        replace:
          'if (id !== undefined && Math.random() < 0.02) { dispatcher.parts.clock.after(50, () => publisher.commit(subscription.name, publications, command)); return { ack: ackOf(dispatcher, frame.channel, id, { reply, position: null }), kept: false } } const committing = publisher.commit(subscription.name, publications, command)'
      }
    ]
  },
  {
    name: 'ack-of-a-failed-store',
    about: 'what the store did not take is acknowledged',
    finds: ['lost-ack'],
    brokers: ['sqlite'],
    patches: [
      {
        file: 'lib/inbound/execute.ts',
        search: "return new Refusal('unavailable')",
        replace: 'return { ack: ackOf(dispatcher, frame.channel, id ?? 0, { reply, position: null }), kept: true }'
      }
    ]
  },
  {
    name: 'no-gap',
    about: 'whoever has missed what is gone is told that it has recovered',
    finds: ['silent-hole', 'inconsistent-offset', 'wrong-outcome'],
    patches: [
      {
        file: 'lib/channel/recovery.ts',
        search: "this.#enter({ kind: 'gap', ...since, to: position.offset, reason })",
        replace:
          "void since; this.#enter({ kind: 'recovered', from: from.offset, to: Math.max(from.offset, position.offset) })"
      }
    ]
  },
  {
    name: 'tag-ignored',
    about: 'a position counts by its offset alone',
    finds: ['hostile-served', 'silent-hole', 'inconsistent-offset'],
    patches: [
      {
        file: 'lib/broker/log.ts',
        search: "return there.tag === tag ? null : 'rewound'",
        replace: 'return there.tag === tag ? null : null'
      },
      {
        file: 'lib/broker/sqlite/log-reader.ts',
        search: "return there === tag ? null : 'rewound'",
        replace: 'return there === tag ? null : null'
      }
    ]
  },
  {
    name: 'epoch-kept-after-a-wipe',
    about: 'a log that begins anew is taken for the one that was lost',
    finds: ['false-gap', 'silent-hole', 'inconsistent-offset', 'duplicate'],
    brokers: ['memory'],
    patches: [
      {
        file: 'lib/broker/memory.ts',
        search: 'this.#epoch ??= newEpoch(clock)',
        replace: "this.#epoch ??= newEpoch(clock).slice(0, 0).padEnd(12, 'E')"
      }
    ]
  },
  {
    name: 'idempotency-without-user',
    about: 'a session is whoever names it',
    finds: ['hostile-served'],
    patches: [
      {
        file: 'lib/inbound/sessions.ts',
        search: 'return profile === null ? id :',
        replace: 'return profile !== undefined ? id :'
      }
    ]
  },
  {
    name: 'flush-after-a-revoke',
    about: 'what waits for a member whose access was taken back is still sent',
    finds: ['foreign'],
    // With the other one a publication is stored in a later turn, when nobody waits for it who was revoked.
    brokers: ['memory'],
    patches: [
      {
        file: 'lib/channel/registry.ts',
        search: "if (reason === 'revoked') connection.outbox.purge(name)",
        replace: "if (reason === 'revoked') connection.outbox.flush()"
      },
      {
        file: 'lib/channel/revoker.ts',
        search: 'turn.distribute()',
        replace: 'turn.distribute() ; for (const link of links) link.outbox.flush()'
      },
      {
        file: 'lib/channel/revoker.ts',
        search: 'await Promise.all(holding.map(link => this.#drained(link)))',
        replace: 'void holding'
      }
    ]
  },
  {
    name: 'revoke-misses-a-member',
    about: 'every second membership outlives the revocation',
    finds: ['foreign'],
    patches: [
      {
        file: 'lib/channel/revoker.ts',
        search: "if (membership?.state === 'joined') {",
        replace:
          "if (membership?.state === 'joined' && Math.random() < 0.5) continue; if (membership?.state === 'joined') {"
      }
    ]
  },
  {
    name: 'merge-without-adjacency',
    about: 'a replay is joined to what is live without a look at whether the one follows on the other',
    finds: ['silent-hole', 'not-converged'],
    patches: [
      {
        file: 'lib/channel/recovery.ts',
        search: 'if (entry.offset !== this.#at.offset + 1 || entry.prev !== this.#at.tag) return false',
        replace: ''
      },
      {
        file: 'lib/channel/recovery.ts',
        search: 'return !(result.complete && this.#join())',
        replace: 'return !(this.#join() || this.#admitted) || (this.#channel.recovered(this.#subscription), false)'
      }
    ]
  },
  {
    name: 'live-during-a-replay',
    about: 'what is live goes out to who still reads its past',
    finds: ['duplicate', 'reorder', 'silent-hole'],
    patches: [
      {
        file: 'lib/channel/channel.ts',
        search: 'for (const connection of this.#recovering()) except.add(connection) const skipped',
        replace: 'const skipped'
      }
    ]
  },
  {
    name: 'excluded-still-told',
    about: 'who is excepted from a publication gets it',
    finds: ['excluded-told'],
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
    about: 'an exception leaves a hole behind',
    finds: ['silent-hole'],
    patches: [
      {
        file: 'lib/channel/channel.ts',
        search: 'if (skipped.size > 0) this.#fanOut.add(',
        replace: 'if (skipped.size < 0) this.#fanOut.add('
      }
    ]
  },
  {
    name: 'history-without-membership',
    about: 'who is no member reads the log',
    finds: ['hostile-served'],
    patches: [
      {
        file: 'lib/inbound/history.ts',
        search: "if (subscription === undefined) throw new Refusal('not-joined')",
        replace:
          "if (subscription === undefined) { void Promise.resolve(dispatcher.parts.broker.read(name, { before: null }, { entries: 10, bytes: 65536 })).then(page => dispatcher.tell(connection, { channel: name, ref, cmd: '$ack', param: { reply: { ...page }, stored: 'none' } })); return }"
      }
    ]
  },
  {
    name: 'resend-run-again',
    about: 'a copy of a command runs it again',
    finds: ['double-store', 'answer-changed', 'unsettled'],
    patches: [
      {
        file: 'lib/inbound/sequence.ts',
        search: "if (id <= this.#highest && known?.state !== 'waiting') return 'repeat'",
        replace: "if (id <= this.#highest && known !== undefined && known.state !== 'waiting') return 'repeat'"
      },
      {
        file: 'lib/broker/session-store.ts',
        search:
          "if (result !== null) return { kind: 'earlier', result } return id <= session.highest && !session.holes.includes(id) ? { kind: 'expired' } : null",
        replace: 'void result; return null'
      },
      {
        file: 'lib/broker/sqlite/session-table.ts',
        search:
          "if (result !== null) return { kind: 'earlier', result } return session.holes.includes(id) ? null : { kind: 'expired' }",
        replace: 'void result; return null'
      }
    ]
  },
  {
    name: 'retryable-nack-consumes-the-id',
    about: 'what was refused for the moment is refused for good when it comes again',
    finds: ['needless-unknown', 'unsettled', 'answer-changed'],
    brokers: ['sqlite'],
    patches: [{ file: 'lib/inbound/run-command.ts', search: 'sequence.giveBack(id)', replace: 'sequence.consume(id)' }]
  },
  {
    name: 'later-ids-run',
    simulated: 'slowly',
    about: 'after a command that was refused for the moment later ones of its channel run',
    finds: ['publisher-order'],
    brokers: ['sqlite'],
    patches: [
      {
        file: 'lib/inbound/sequence.ts',
        search: 'return { from, running }',
        replace: 'void from; return { from: null, running }'
      }
    ]
  },
  {
    name: 'replay-page-cut',
    about: 'each page of a replay lacks its first publication',
    finds: ['silent-hole'],
    patches: [
      {
        file: 'lib/channel/replay.ts',
        search: 'Buffer.concat(entries.map(encodeEntry))',
        replace: 'Buffer.concat(entries.slice(entries.length > 1 ? 1 : 0).map(encodeEntry))'
      }
    ]
  },
  {
    name: 'page-of-another-position',
    about: 'who comes back is sent the page that was read for somebody else, whatever the position',
    finds: ['duplicate', 'silent-hole', 'reorder', 'wrong-outcome', 'inconsistent-offset', 'not-converged'],
    patches: [
      {
        file: 'lib/channel/replay.ts',
        search:
          'kept.bytes === bytes && samePosition(kept.after, after) && (kept.brought || samePosition(kept.head, head))',
        replace: 'kept.bytes === bytes && kept.brought'
      }
    ]
  },
  {
    name: 'head-before-the-entry',
    simulated: 'slowly',
    about: 'who joins is told the head, and then once more what leads to it',
    finds: ['duplicate', 'silent-hole', 'foreign'],
    patches: [
      {
        file: 'lib/channel/fan-out.ts',
        search: 'this.flush() subscription.index = this.#members.length',
        replace: 'subscription.index = this.#members.length'
      }
    ]
  },
  {
    name: 'trim-marker-ignored',
    about: 'who was away for longer than the log keeps goes on with the oldest that is there',
    finds: ['silent-hole'],
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
      },
      {
        file: 'lib/broker/sqlite/log-reader.ts',
        search: "if (offset < base.offset) return 'trimmed'",
        replace: 'if (offset < base.offset) return null'
      }
    ]
  },
  {
    name: 'result-not-stored',
    about: 'what became of a command is forgotten',
    finds: ['answer-changed', 'needless-unknown', 'unsettled', 'server-died'],
    patches: [
      {
        file: 'lib/broker/session-store.ts',
        search: 'session.results.set(id, { reply, position, at: now })',
        replace: 'void now'
      },
      {
        file: 'lib/broker/sqlite/result-table.ts',
        search: 'this.#sql.add.run(seq, session.id, id, at, reply.length, epoch, offset, tag, reply)',
        replace: 'void [epoch, offset, tag]'
      }
    ]
  },
  {
    name: 'presence-kept',
    about: 'whoever has gone is still there',
    finds: ['presence', 'leftovers'],
    patches: [
      {
        file: 'lib/channel/channel.ts',
        search: 'const last = this.presence.remove(profile.id)',
        replace: "const last = profile.id === ''"
      }
    ]
  },
  {
    name: 'wrong-class',
    about: 'an ack names the disk, whatever the store is',
    // Which it is on SQLite, unless nothing was stored.
    finds: ['wrong-class', 'answer-changed'],
    brokers: ['memory'],
    patches: [
      {
        file: 'lib/inbound/ack.ts',
        search: "result.position === null ? 'none' : dispatcher.parts.broker.stored",
        replace: "dispatcher === null ? 'none' : 'disk'"
      }
    ]
  },
  {
    name: 'commit-after-the-ack',
    simulated: 'never',
    about: 'a group of commands is acknowledged before the disk has it',
    finds: ['lost-ack', 'false-gap', 'inconsistent-offset', 'double-store'],
    brokers: ['sqlite'],
    patches: [
      {
        file: 'lib/broker/sqlite/store.ts',
        search: 'this.#finish(moment) for (const',
        replace: 'if (Math.random() < 0.03) this.#finish(moment); for (const'
      }
    ]
  },
  {
    name: 'heads-not-rolled-back',
    simulated: 'never',
    about: 'after a failed transaction the logs go on behind what was not stored',
    finds: ['silent-hole', 'inconsistent-offset', 'false-gap', 'late', 'not-converged', 'lost-ack'],
    brokers: ['sqlite'],
    patches: [
      {
        file: 'lib/broker/sqlite/log-table.ts',
        search: 'this.#changed.clear() this.#heads.clear()',
        replace: 'this.#changed.clear()'
      }
    ]
  },
  {
    name: 'head-claimed',
    about: 'whoever comes back in the same epoch is taken to stand at the head',
    finds: [],
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
    finds: [],
    patches: [
      {
        file: 'lib/channel/feed.ts',
        search: 'return offset === head.offset + 1 && prev === head.tag && epoch === head.epoch',
        replace: 'void prev; return offset > head.offset && epoch === head.epoch'
      }
    ]
  },
  {
    name: 'replay-twice',
    about: 'a replay begins with what its last publication was',
    finds: [],
    patches: [
      {
        file: 'lib/channel/recovery.ts',
        search: 'this.#sendAll(result.entries, replayed)',
        replace: 'this.#sendAll(result.entries, replayed); this.#sendAll(result.entries, replayed)'
      }
    ]
  },
  {
    name: 'replay-before-joined',
    about: 'a replay begins before its channel is said to be joined',
    finds: [],
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
    name: 'ack-before-its-publication',
    about: 'answers do not wait for what was published before them',
    finds: [],
    patches: [
      {
        file: 'lib/channel/fan-out.ts',
        search: 'if (this.#entries === null) connection.sendEncoded(frame, 1, origin)',
        replace: 'if (this.#entries !== undefined) connection.sendEncoded(frame, 1, origin)'
      }
    ]
  },
  {
    name: 'revocation-overtaken',
    simulated: 'slowly',
    about: 'access that was taken back while it was being decided is given all the same',
    finds: [],
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
    finds: [],
    patches: [{ file: 'lib/channel/publisher.ts', search: 'subject?.isEphemeral(cmd) === true ? null :', replace: '' }]
  },
  {
    name: 'log-passed-by',
    about: 'one publication in a hundred is sent and not kept',
    finds: [],
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
    finds: [],
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
    name: 'reply-to-who-left',
    about: 'a command that is sent again is answered with its reply though its sender has left',
    finds: ['hostile-served'],
    patches: [
      {
        file: 'lib/inbound/run-command.ts',
        search: 'dispatcher.tellText(connection, answer.channel, answer.bare)',
        replace: 'dispatcher.tellText(connection, answer.channel, answer.text)'
      },
      {
        file: 'lib/inbound/run-command.ts',
        search: 'encodeText(answer.text), answer)',
        replace: 'encodeText(answer.text), { channel: answer.channel })'
      }
    ]
  },
  {
    name: 'stored-twice',
    about: 'one commit in fifty is stored twice',
    finds: [],
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
    finds: [],
    patches: [
      {
        file: 'lib/inbound/history.ts',
        search: 'if (!isAddressed(connection, except)) texts.push',
        replace: 'if (!isAddressed(connection, except) || except.length > 0) texts.push'
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
