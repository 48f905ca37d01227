import fc from 'fast-check'
import t from 'tap'
import { AgedMap } from '../../lib/aged-map.ts'

fc.configureGlobal({ seed: Number(process.env.SEED ?? 1) })

t.test('whatever came and went, the oldest is that which was set first, as a plain map has it', t => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('set' as const), key: fc.nat(7) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('delete' as const), key: fc.nat(7) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('oldest' as const), key: fc.constant(0) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('clear' as const), key: fc.constant(0) }) }
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), steps => {
      const aged = new AgedMap<number, number>()
      const model = new Map<number, number>()
      for (const [n, { kind, key }] of steps.entries()) {
        if (kind === 'set') {
          aged.set(key, n)
          model.delete(key)
          model.set(key, n)
        } else if (kind === 'clear') {
          aged.clear()
          model.clear()
        } else {
          const gone = kind === 'oldest' ? (aged.oldest?.key ?? -1) : key
          if (aged.delete(gone) !== model.delete(gone)) return false
        }
        const [first] = model
        const { oldest } = aged
        if ((oldest === null) !== (first === undefined)) return false
        if (oldest !== null && (oldest.key !== first![0] || oldest.value !== first![1])) return false
        if (aged.size !== model.size) return false
        for (let i = 0; i < 8; i++) if (aged.get(i) !== model.get(i) || aged.has(i) !== model.has(i)) return false
      }
      return true
    }),
    { numRuns: 2_000 }
  )
  t.end()
})

t.test('all of it comes out in the order in which it was set', t => {
  const aged = new AgedMap<string, null>()
  for (const key of ['a', 'b', 'c', 'a', 'd']) aged.set(key, null)
  aged.delete('c')
  const order: string[] = []
  for (let oldest = aged.oldest; oldest !== null; oldest = aged.oldest) {
    order.push(oldest.key)
    aged.delete(oldest.key)
  }
  t.strictSame(order, ['b', 'a', 'd'])
  t.end()
})
