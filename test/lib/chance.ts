import t from 'tap'
import { newEpoch, newId, newTag } from '../../lib/chance.ts'
import { systemClock } from '../../lib/clock.ts'
import { ManualClock } from '../fixtures/clock.ts'

t.test('names are base64url of as many bits as they say, and none comes twice', async t => {
  const names = new Set<string>()
  for (let i = 0; i < 1_000; i++) {
    for (const [name, characters] of [
      [newId(systemClock), 22],
      [newTag(systemClock), 8],
      [newEpoch(systemClock), 12]
    ] as const) {
      if (!/^[\w-]+$/.test(name) || name.length !== characters) t.fail(name)
      names.add(name)
    }
  }
  t.equal(names.size, 3_000)
})

t.test('each clock has chance of its own', async t => {
  const named = (clock = new ManualClock()) => Array.from({ length: 600 }, () => newId(clock))
  t.strictSame(named(), named())
})

t.test('what is not given yet lies in no memory that other Buffers share', async t => {
  for (let i = 0; i < 10; i++) {
    const clock = { ...systemClock }
    newId(clock)
    // A copy, as what is looked for is written there when it is looked for.
    const shared = Buffer.alloc(Buffer.poolSize)
    shared.set(new Uint8Array(Buffer.from('anything of the host').buffer))
    t.notOk(shared.includes(Buffer.from(newId(clock), 'base64url')))
  }
})
