import t from 'tap'
import { Turn } from '../../lib/connection/turn.ts'
import { ManualClock } from '../fixtures/clock.ts'

t.test('more than two thousand writes leave in slices, in order, and others get their turn between them', async t => {
  const clock = new ManualClock()
  const turn = new Turn(clock)
  const written: number[] = []
  const seen: number[] = []
  for (let n = 0; n < 4_500; n++) turn.addOutbox({ flush: () => written.push(n) })
  const look = (): void => {
    seen.push(written.length)
    if (seen.length < 3) clock.soon(look)
  }
  clock.soon(look)
  await clock.advance(0)
  t.strictSame(seen, [2_000, 4_000, 4_500])
  t.strictSame(
    written,
    Array.from({ length: 4_500 }, (_, n) => n)
  )
})

t.test('what is asked for while a slice is written comes after all that waited', async t => {
  const clock = new ManualClock()
  const turn = new Turn(clock)
  const written: Array<number | string> = []
  const late = { flush: () => written.push('late') }
  for (let n = 0; n < 2_001; n++) {
    turn.addOutbox({
      flush: () => {
        written.push(n)
        if (n === 0) turn.addOutbox(late)
      }
    })
  }
  await clock.advance(0)
  t.strictSame(written.slice(1_999), [1_999, 2_000, 'late'])
})

t.test(
  'a batch that leaves early leaves to everybody: the rest of the turn must find room in the outboxes',
  async t => {
    const clock = new ManualClock()
    const turn = new Turn(clock)
    let written = 0
    for (let n = 0; n < 4_500; n++) turn.addOutbox({ flush: () => written++ })
    turn.write()
    t.equal(written, 4_500)
    await clock.advance(0)
    t.equal(written, 4_500)
  }
)
