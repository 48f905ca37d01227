import t from 'tap'
import type { Membership } from '../../lib/connection/memberships.ts'
import { Memberships } from '../../lib/connection/memberships.ts'
import { ManualClock } from '../fixtures/clock.ts'

t.test('memberships are found, replaced, given up and listed as in a Map, however many there are', async t => {
  const clock = new ManualClock()
  const below = (most: number): number => Math.floor(clock.random() * most)
  const sizes = new Set<number>()
  for (let run = 0; run < 200; run++) {
    const memberships = new Memberships()
    const model = new Map<string, Membership>()
    const names = 1 + below(12)
    for (let step = 0; step < 60; step++) {
      const name = `room-${below(names)}`
      if (below(3) > 0) {
        const membership: Membership = { name, state: 'joined' }
        memberships.add(membership)
        model.delete(name)
        model.set(name, membership)
      } else {
        memberships.delete(name)
        model.delete(name)
      }
      sizes.add(model.size)
      const same =
        memberships.get(name) === model.get(name) &&
        memberships.size === model.size &&
        [...model.values()].every((one, n) => memberships.all()[n] === one)
      if (!same) return t.fail(`run ${run}, step ${step}: ${memberships.all().map(one => one.name)}`)
    }
  }
  t.ok([0, 1, 2, 8, 9, 12].every(size => sizes.has(size)))
})
