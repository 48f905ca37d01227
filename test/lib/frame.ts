import t from 'tap'
import { encodeText, payloadAt } from '../../lib/connection/frame.ts'
import { encodeFrame } from '../../lib/protocol/message.ts'

t.test(
  'every text is one final frame with the shortest header, whatever came before it and comes after it',
  async t => {
    const lengths = [0, 1, 41, 42, 124, 125, 126, 127, 226, 227, 679, 680, 681, 682, 65_535, 65_536, 70_000]
    const texts = ['a', 'ä', '€', '😀', '\ud800'].flatMap(unit => lengths.map(length => unit.repeat(length)))
    // Many times over, as short ones are cut from the same memory; held against their texts when all are there.
    const encoded = Array.from({ length: 20 }, () => texts).flatMap(all =>
      all.map(text => ({ text, frame: encodeText(text) }))
    )
    const wrong = encoded.filter(({ text, frame }) => {
      const payload = Buffer.from(text)
      const header = payload.byteLength < 126 ? 2 : payload.byteLength < 65_536 ? 4 : 10
      const { start, end } = payloadAt(frame, 0)
      const fits = start === header && end === frame.byteLength && frame[0] === 0x81
      return !fits || !frame.subarray(start, end).equals(payload)
    })
    t.strictSame(wrong, [])
  }
)

t.test('names are written as JSON.stringify writes them', async t => {
  for (let code = 0; code < 0x300; code++) {
    const name = `a${String.fromCharCode(code)}b`
    t.equal(encodeFrame({ channel: name, cmd: name }), JSON.stringify({ channel: name, cmd: name }), `${code}`)
  }
  for (const name of ['', '\ud800', '\u2028', '😀', '\\', '"']) {
    t.equal(encodeFrame({ via: name, cmd: name }), JSON.stringify({ via: name, cmd: name }))
  }
})
