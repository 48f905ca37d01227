import fc from 'fast-check'
import t from 'tap'
import { MultiMap } from '../../lib/multi-map.ts'

interface Value {
  readonly name: string
}

t.test('values are kept by key, in the order in which they came, each once, and a key without any is gone', async t => {
  const [a, b]: readonly [Value, Value] = [{ name: 'a' }, { name: 'b' }]
  const map = new MultiMap<string, Value>()
  t.strictSame([map.size, map.count('x'), map.get('x')], [0, 0, []])
  map.delete('x', a)
  map.add('x', a)
  map.add('x', a)
  t.strictSame([map.size, map.count('x'), map.get('x')], [1, 1, [a]])
  map.delete('x', b)
  map.add('x', b)
  const both = map.get('x')
  map.delete('x', a)
  t.strictSame([both, map.get('x'), map.count('x')], [[a, b], [b], 1], 'what was asked for stays as it was')
  map.delete('x', b)
  t.strictSame([map.size, map.count('x'), map.get('x')], [0, 0, []])
})

t.test('it does what a map of sets does, whatever is added and deleted', async t => {
  const values: readonly Value[] = [0, 1, 2, 3].map(n => ({ name: String(n) }))
  const step = fc.record({ adds: fc.boolean(), key: fc.nat(2), value: fc.nat(3) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), steps => {
      const map = new MultiMap<number, Value>()
      const model = new Map<number, Set<Value>>()
      for (const { adds, key, value } of steps) {
        const item = values[value]!
        const known = model.get(key) ?? new Set()
        if (adds) {
          map.add(key, item)
          model.set(key, known.add(item))
        } else {
          map.delete(key, item)
          known.delete(item)
          if (known.size === 0) model.delete(key)
        }
        for (const each of [0, 1, 2]) {
          const own = [...(model.get(each) ?? [])]
          if (map.count(each) !== own.length) return false
          const got = map.get(each)
          if (got.length !== own.length || got.some((one, i) => one !== own[i])) return false
        }
        if (map.size !== model.size) return false
      }
      return true
    })
  )
  t.pass()
})
