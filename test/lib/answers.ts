import fc from 'fast-check'
import t from 'tap'
import { AllAnswers, Answer, Answers } from '../../lib/inbound/answers.ts'

fc.configureGlobal({ seed: Number(process.env.SEED ?? 1) })

const MAX_CHARACTERS = 3_000
/** As limits.answerCharacters counts. */
const OVERHEAD = 200
const AGE_MS = 300_000

interface Known {
  readonly session: number
  readonly id: number
  readonly text: string
  readonly at: number
}

const answer = (id: number, text: string) => new Answer('a', id, text, false)

t.test(
  'of all answers the latest are kept, within the bounds of all of them, whoever asks for whatever in between',
  async () => {
    const session = fc.nat(2)
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ kind: fc.constant('add' as const), session, n: fc.nat(400) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('get' as const), session, n: fc.nat(40) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('clear' as const), session, n: fc.constant(0) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), session, n: fc.nat(200_000) }) }
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), steps => {
        const all = new AllAnswers(MAX_CHARACTERS)
        const sessions = [0, 1, 2].map(() => ({ answers: new Answers(all), next: 1 }))
        let model: Known[] = []
        let now = 0
        const sum = () => model.reduce((characters, { text }) => characters + text.length + OVERHEAD, 0)
        for (const { kind, session, n } of steps) {
          const { answers, next } = sessions[session]!
          if (kind === 'wait') now += n
          else if (kind === 'clear') {
            answers.clear()
            model = model.filter(known => known.session !== session)
          } else if (kind === 'get') {
            const known = model.find(known => known.session === session && known.id === n)
            if (answers.get(n)?.text !== known?.text) return false
          } else {
            const text = `${next} ${'x'.repeat(n)}`
            answers.add(answer(next, text), now)
            sessions[session]!.next++
            model.push({ session, id: next, text, at: now })
            while (sum() > MAX_CHARACTERS || now - model[0]!.at > AGE_MS) model.shift()
          }
          if (all.characters !== sum()) return false
        }
        return model.every(({ session, id, text }) => sessions[session]!.answers.get(id)?.text === text)
      }),
      { numRuns: 1_000 }
    )
  }
)

t.test('of one session ten thousand are kept, and what is asked for once is found as long as it is', async t => {
  const answers = new Answers(new AllAnswers(0))
  for (let id = 1; id <= 10_000; id++) answers.add(answer(id, String(id)), 0)
  t.equal(answers.get(1)?.text, '1')
  for (let id = 10_001; id <= 30_000; id++) {
    answers.add(answer(id, String(id)), 0)
    if (id % 7_001 === 0) t.equal(answers.get(id - 9_999)?.text, String(id - 9_999))
  }
  t.equal(answers.get(20_000), undefined)
  t.equal(answers.get(20_001)?.text, '20001')
  t.equal(answers.get(30_000)?.text, '30000')
})

t.test('an answer that is forgotten holds none of those that came after it', async t => {
  const answers = new Answers(new AllAnswers(MAX_CHARACTERS))
  const first = answer(1, 'x'.repeat(1_000))
  answers.add(first, 0)
  for (let id = 2; id <= 5; id++) answers.add(answer(id, 'x'.repeat(1_000)), 0)
  t.equal(answers.get(1), undefined)
  t.strictSame([first.older, first.newer, first.nextOfOwner], [null, null, null])
})
