import t from 'tap'
import { Turn } from '../../lib/connection/turn.ts'
import { ManualClock } from '../fixtures/clock.ts'

const noop = (): void => {}

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

t.test(
  'a turn in which all was written is not followed by another, and what comes while it is distributed is not left',
  async t => {
    let turns = 0
    class Turns extends ManualClock {
      override soon(task: () => void): void {
        turns++
        super.soon(task)
      }
    }
    const clock = new Turns()
    const turn = new Turn(clock)
    const written: string[] = []
    const outbox = (name: string) => ({ flush: () => written.push(name) })
    turn.addBatch({ distribute: () => turn.addOutbox(outbox('a')) })
    await clock.advance(0)
    t.strictSame([turns, written], [1, ['a']])
    turn.addBatch({
      distribute: () => {
        turn.addOutbox(outbox('b'))
        turn.addBatch({ distribute: () => turn.addOutbox(outbox('c')) })
      }
    })
    await clock.advance(0)
    t.strictSame([turns, written], [3, ['a', 'b', 'c']])
  }
)

t.test(
  'writes may be put off for as long as a turn writes, and no longer, whoever throws or writes in between',
  async t => {
    const clock = new ManualClock()
    const turn = new Turn(clock)
    const said: string[] = []
    turn.scope = { begin: () => said.push('begin'), end: () => said.push('end') }
    const saying = (text: string) => ({ flush: () => void said.push(text) })
    turn.addOutbox(saying('a'))
    turn.addOutbox({
      flush: () => {
        turn.addOutbox(saying('c'))
        turn.write()
      }
    })
    turn.addOutbox(saying('b'))
    await clock.advance(0)
    t.strictSame(said.splice(0), ['begin', 'a', 'begin', 'c', 'end', 'b', 'end', 'begin', 'end'])
    turn.addOutbox({
      flush: () => {
        throw new Error('no')
      }
    })
    turn.addOutbox(saying('d'))
    t.throws(() => turn.write(), { message: 'no' })
    t.strictSame(said.splice(0), ['begin', 'end'])
    turn.scope = {
      begin: noop,
      end: () => {
        turn.scope = null
        throw new Error('no end')
      }
    }
    turn.addOutbox(saying('e'))
    t.throws(() => turn.write(), { message: 'no end' })
    await clock.advance(0)
    t.strictSame(said, ['d', 'e'])
  }
)

t.test('whoever throws keeps nothing of the others from leaving', async t => {
  const tasks: Array<() => void> = []
  class Held extends ManualClock {
    override soon(task: () => void): void {
      tasks.push(task)
    }
  }
  const turn = new Turn(new Held())
  const written: string[] = []
  const outbox = (name: string) => ({ flush: () => written.push(name) })
  const fail = () => {
    throw new Error('as asked')
  }
  turn.addBatch({ distribute: () => turn.addOutbox(outbox('a')) })
  turn.addBatch({ distribute: fail })
  turn.addBatch({ distribute: () => turn.addOutbox(outbox('b')) })
  t.throws(tasks.shift()!, { message: 'as asked' })
  t.strictSame(written, [])
  tasks.shift()!()
  t.strictSame(written, ['a', 'b'])
  for (const one of [outbox('c'), { flush: fail }, outbox('d')]) turn.addOutbox(one)
  t.throws(tasks.shift()!, { message: 'as asked' })
  turn.addOutbox(outbox('e'))
  tasks.shift()!()
  t.strictSame(written, ['a', 'b', 'c', 'd', 'e'])
  t.equal(tasks.length, 0)
})
