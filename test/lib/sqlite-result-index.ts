import t from 'tap'
import type { Mark } from '../../lib/broker/sqlite/result-index.ts'
import { ResultIndex } from '../../lib/broker/sqlite/result-index.ts'
import { Chance } from '../fixtures/chance.ts'

const SESSIONS = 4

/** The same, without any cleverness. */
class Plain {
  readonly sessions = new Map<number, Mark[]>()

  of(session: number): Mark[] {
    return (this.sessions.get(session) ?? []).toSorted((a, b) => a.id - b.id)
  }

  set(session: number, marks: Mark[]): void {
    this.sessions.set(session, marks)
  }
}

t.test('whatever is added, taken back, pushed out or forgotten, each id stands where a plain list has it', async t => {
  for (let seed = 1; seed <= 200; seed++) {
    const chance = new Chance(seed)
    const index = new ResultIndex()
    const plain = new Plain()
    let seq = 0
    for (let step = 0; step < 300; step++) {
      const session = chance.below(SESSIONS)
      const marks = plain.of(session)
      const plan = chance.below(12)
      if (plan < 8) {
        // Mostly the next one, and a hole now and then.
        const highest = marks.at(-1)?.id ?? 0
        const id = chance.oneIn(6) ? Math.max(1, highest - chance.below(6)) : highest + 1 + chance.below(3)
        if (marks.some(mark => mark.id === id)) continue
        const mark = { id, seq: ++seq, size: chance.below(50) }
        index.add(session, mark)
        plain.set(session, [...marks, mark])
        if (chance.oneIn(10)) {
          index.remove(session, id)
          plain.set(session, marks)
        }
      } else if (plan === 8) {
        const id = chance.below(80)
        const [characters, few, most] = [chance.below(300), chance.below(20), 1 + chance.below(10)]
        const over = overOf(marks, id, characters, few, most)
        t.strictSame(index.over(session, id, characters, few, most), over)
        index.drop(session, over.length)
        plain.set(session, marks.slice(over.length))
      } else if (plan === 9) {
        const last = Math.max(0, seq - chance.below(40))
        for (let one = 0; one < SESSIONS; one++) {
          index.dropUpTo(one, last)
          plain.set(
            one,
            plain.of(one).filter(mark => mark.seq > last)
          )
        }
      } else if (plan === 10 && chance.oneIn(4)) {
        index.end(session)
        plain.set(session, [])
      }
      const now = plain.of(session)
      for (let id = (now[0]?.id ?? 1) - 2; id <= (now.at(-1)?.id ?? 1) + 2; id++) {
        const there = now.find(mark => mark.id === id)?.seq ?? null
        if (index.find(session, id) !== there) t.equal(index.find(session, id), there, `seed ${seed}, step ${step}`)
      }
    }
  }
})

function overOf(marks: readonly Mark[], id: number, characters: number, few: number, most: number): Mark[] {
  const sum = (of: readonly Mark[]): number => of.reduce((total, { size }) => total + size, 0)
  if (marks.length === 0 || (id - marks[0]!.id < few && sum(marks) <= characters)) return []
  const over: Mark[] = []
  for (const [i, mark] of marks.slice(0, -1).entries()) {
    if (over.length === most || (mark.id > id && sum(marks.slice(i + 1)) <= characters)) break
    over.push(mark)
  }
  return over
}
