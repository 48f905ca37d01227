import fc from 'fast-check'
import t from 'tap'
import { canonicalContract, eventSchema } from '../../lib/protocol/contract.ts'
import {
  CLOSE_CODES,
  closeCode,
  comesBack,
  command,
  compilePattern,
  defineChannel,
  defineContract,
  encodeSegment,
  ephemeral,
  isChannelName,
  MAX_CHANNEL_BYTES,
  MAX_REASON_BYTES,
  NACK_CODES,
  Type,
  userChannel
} from '../../lib/protocol/index.ts'
import { decodeFrame, encodeFrame, receivedParam } from '../../lib/protocol/message.ts'

// The same in every run, so that a failure is of the change at hand.
fc.configureGlobal({ seed: Number(process.env.SEED ?? 1) })

const strict = { maxDepth: 32, strict: true }

t.test('a frame is read as it was written, whatever its param', async () => {
  fc.assert(
    fc.property(
      fc.jsonValue({ maxDepth: 8 }),
      fc.integer({ min: 1 }),
      fc.string({ minLength: 1, maxLength: 20 }),
      (param, id, cmd) => {
        const frame = { channel: 'a', cmd, id, param }
        const read = decodeFrame(encodeFrame(frame), strict)
        return JSON.stringify(read.param) === JSON.stringify(param) && read.id === id && read.cmd === cmd
      }
    )
  )
})

t.test('what the scan refuses it finds wherever it stands and however it is spelt', async t => {
  const bad: ReadonlyArray<readonly [string, RegExp]> = [
    ['', /not JSON/],
    ['{"cmd":"a"', /not JSON/],
    ['[]', /not a JSON object/],
    ['null', /not a JSON object/],
    ['"a"', /not a JSON object/],
    ['{}', /cmd must be/],
    ['{"cmd":""}', /cmd must be/],
    [`{"cmd":"${'x'.repeat(129)}"}`, /cmd must be/],
    ['{"cmd":7}', /cmd must be/],
    ['{"cmd":"a","channel":7}', /channel must be/],
    ['{"cmd":"a","id":0}', /id must be/],
    ['{"cmd":"a","id":1.5}', /id must be/],
    ['{"cmd":"a","id":"1"}', /id must be/],
    ['{"cmd":"a","id":9007199254740993}', /id must be/],
    ['{"cmd":"a","ref":-1}', /ref must be/],
    ['{"cmd":"a","cmd":"b"}', /"cmd" is repeated/],
    ['{"cmd":"a","\\u0063md":"b"}', /"cmd" is repeated/],
    ['{"cmd":"a","param":{"x":1,"x":2}}', /"x" is repeated/],
    ['{"cmd":"a","param":[{"x":1},{"x":[{"y":1,"y":1}]}]}', /"y" is repeated/],
    ['{"cmd":"a","__proto__":{}}', /__proto__/],
    ['{"cmd":"a","param":{"\\u005f_proto__":{}}}', /__proto__/],
    ['{"cmd":"a","more":1}', /unknown field "more"/]
  ]
  for (const [text, message] of bad) t.throws(() => decodeFrame(text, strict), { code: 'bad-frame', message }, text)
  const good = [
    '{"cmd":"a","param":{"x":{"x":1},"y":["x","x"]}}',
    '{"cmd":"a","param":"\\"{[\\\\"}',
    '{"cmd":"\\\\","param":{"\\\\":1,"\\"":2,"}":3}}',
    ' {\n"cmd" : "a" , "param" : [ ] } ',
    '{"cmd":"a","from":"evil","via":"x","offset":1,"tag":"t"}'
  ]
  for (const text of good) {
    const { from, via, offset, tag } = decodeFrame(text, strict)
    t.strictSame([from, via, offset, tag], [undefined, undefined, undefined, undefined], text)
  }
  const lax = { maxDepth: 32, strict: false }
  t.strictSame(
    decodeFrame('{"cmd":"a","more":1,"id":"abc","ref":-1}', lax),
    { cmd: 'a', text: '{"cmd":"a","more":1,"id":"abc","ref":-1}' },
    'a plain client may number as it likes'
  )
  t.strictSame(decodeFrame('{"cmd":"a","id":7}', lax), { cmd: 'a', id: 7, text: '{"cmd":"a","id":7}' })
})

t.test('what all objects inherit makes no room for a repeated key', async t => {
  Object.defineProperty(Object.prototype, 'planted', { value: 1, enumerable: true, configurable: true })
  t.teardown(() => Reflect.deleteProperty(Object.prototype, 'planted'))
  t.throws(() => decodeFrame('{"cmd":"a","cmd":"b"}', { maxDepth: 32, strict: false }), {
    message: /"cmd" is repeated/
  })
  t.equal(decodeFrame('{"cmd":"a"}', strict).cmd, 'a')
})

t.test('the param of a frame is found as it was written, wherever it stands', async t => {
  const space = fc.constantFrom('', ' ', '\n\t')
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), fc.string(), space, fc.nat(2), (param, cmd, gap, at) => {
      const text = JSON.stringify(param, null, gap)
      const fields = ['"cmd":"param"', `"channel" :${gap}${JSON.stringify(`param ${cmd}`)}`]
      fields.splice(at, 0, `"param"${gap}:${gap}${text}`)
      return receivedParam(`${gap}{${gap}${fields.join(`${gap},${gap}`)}${gap}}`)?.text === text
    })
  )
  const digits = '{"n":12345678901234567890,"x":1.50,"e":1E3}'
  t.equal(receivedParam(`{"cmd":"a","param": ${digits} ,"id":1}`)?.text, digits)
  t.equal(encodeFrame({ cmd: 'a', param: receivedParam(`{"param":${digits}}`) }), `{"cmd":"a","param":${digits}}`)
  t.equal(receivedParam('{"cmd":"param","channel":{"param":1}}'), null, 'there is none')
  t.equal(receivedParam('{"cmd":"a","p\\u0061ram": [1] }')?.text, '[1]', 'and however its key is written')
})

t.test('depth counts the frame itself, and any depth is refused rather than overflowing', async t => {
  const nested = (depth: number) => `{"cmd":"a","param":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
  t.ok(decodeFrame(nested(32), strict))
  t.throws(() => decodeFrame(nested(33), strict), { message: /deeper than 32/ })
  t.throws(() => decodeFrame(nested(500_000), strict), { message: /deeper than 32/ })
})

t.test('a repeated key is found exactly where JSON.parse would drop one', async () => {
  const key = fc.constantFrom('a', 'b', 'cmd', '"', '\\', 'ü')
  const { value } = fc.letrec<{ value: unknown }>(tie => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom('1', '"x"', '"{"', 'null'),
      tie('object' as 'value'),
      tie('list' as 'value')
    ),
    object: fc
      .array(fc.tuple(key, tie('value')), { maxLength: 4 })
      .map(pairs => `{${pairs.map(([k, v]) => `${JSON.stringify(k)}:${v}`).join(',')}}`),
    list: fc.array(tie('value'), { maxLength: 3 }).map(values => `[${values.join(',')}]`)
  }))
  const keysIn = (parsed: unknown): number =>
    typeof parsed !== 'object' || parsed === null
      ? 0
      : Object.values(parsed).reduce<number>(
          (sum, inner) => sum + keysIn(inner),
          Array.isArray(parsed) ? 0 : Object.keys(parsed).length
        )
  fc.assert(
    fc.property(value, param => {
      const text = `{"cmd":"c","param":${param}}`
      const written = (String(param).match(/"(?:[^"\\]|\\.)*":/g) ?? []).length
      const repeated = written !== keysIn(JSON.parse(String(param)))
      try {
        decodeFrame(text, strict)
        return !repeated
      } catch {
        return repeated
      }
    }),
    { numRuns: 2000 }
  )
})

t.test('a function or a symbol has no JSON form', async t => {
  t.throws(() => encodeFrame({ cmd: 'a', param: () => {} }), TypeError)
  t.throws(() => encodeFrame({ cmd: 'a', param: Symbol('x') }), TypeError)
  t.equal(
    encodeFrame({ cmd: 'a', channel: 'c', via: 'v', id: 1, ref: 2, from: 'f' }),
    '{"channel":"c","via":"v","cmd":"a","id":1,"ref":2,"from":"f"}'
  )
})

t.test('parameters survive the way into a name and back, and no two sets share a name', async t => {
  const patterns = ['chat-room-:room', 'doc-:team-:page', ':a.:b~:c', 'x-:id-end', ':only']
  for (const pattern of patterns) {
    const compiled = compilePattern(pattern)
    const params = fc.record(
      Object.fromEntries(
        compiled.parameters.map(name => [name, fc.string({ minLength: 1, maxLength: 8, unit: 'grapheme' })])
      )
    )
    fc.assert(
      fc.property(params, params, (one, two) => {
        const name = nameOf(compiled, one)
        if (name === null) return true
        const other = nameOf(compiled, two)
        const same = compiled.parameters.every(key => one[key] === two[key])
        const back = compiled.match(name)
        return (
          isChannelName(name) && compiled.parameters.every(key => back?.[key] === one[key]) && (name === other) === same
        )
      })
    )
  }
  t.equal(compilePattern('doc-:team-:page').name({ team: 'a-b', page: 'c-d' }), 'doc-a%2Db-c-d')
})

function nameOf(compiled: ReturnType<typeof compilePattern>, params: Record<string, string>): string | null {
  try {
    return compiled.name(params)
  } catch {
    return null
  }
}

t.test('only the canonical spelling of a name is of a pattern', async t => {
  const compiled = compilePattern('chat-room-:room')
  t.same(compiled.match('chat-room-42'), { room: '42' })
  for (const name of [
    'chat-room-',
    'chat-room-%34%32',
    'chat-room-%2',
    'chat-room-%ff',
    'chat-room-%2f',
    'chat-room',
    'Chat-room-1'
  ]) {
    t.equal(compiled.match(name), null, name)
  }
  t.same(compiled.match('chat-room-%2F'), { room: '/' })
  t.equal(compiled.match(`chat-room-${'x'.repeat(119)}`), null)
  for (const params of [{}, { room: '' }, { room: 7 }, { room: '\ud800' }, { room: 'x'.repeat(119) }]) {
    t.throws(() => compiled.name(params as never), TypeError)
  }
})

t.test('a malformed pattern is refused', async t => {
  const long = 'x'.repeat(MAX_CHANNEL_BYTES + 1)
  for (const pattern of ['', 'a b', 'a/b', ':a:b', 'x-:a-:a', 'a%20-:b', 'ä', long]) {
    t.throws(() => compilePattern(pattern), TypeError, pattern)
  }
})

t.test('a name is at most 128 of the allowed characters', async t => {
  for (const good of ['a', 'A.b_c~d%20-9', 'x'.repeat(128)]) t.ok(isChannelName(good), good)
  const bad = [
    '',
    'x'.repeat(129),
    '../x',
    '*',
    '{a}',
    'a\r\nb',
    'a\0',
    '\u202e',
    'é',
    'e\u0301',
    '\ud800',
    'a b',
    'a:b',
    'a/b'
  ]
  for (const name of bad) t.notOk(isChannelName(name), JSON.stringify(name))
  t.equal(userChannel("O'Neil (1)*!"), 'user-O%27Neil%20%281%29%2A%21')
  t.equal(encodeSegment('a-b', '-'), 'a%2Db')
})

t.test('the close codes are unique, fit a close frame, and agree with the rule of ranges', async t => {
  t.equal(new Set(CLOSE_CODES.map(row => row.code)).size, CLOSE_CODES.length)
  t.equal(new Set(CLOSE_CODES.map(row => row.name)).size, CLOSE_CODES.length)
  for (const row of CLOSE_CODES) {
    t.ok(Buffer.byteLength(row.reason) <= MAX_REASON_BYTES, row.name)
    t.equal(comesBack(row.code), row.retry, row.name)
    t.equal(closeCode(row.name), row)
  }
  for (const [code, back] of [
    [4100, true],
    [4499, true],
    [4600, false],
    [4999, false],
    [3000, false],
    [1015, false],
    [999, false]
  ] as const) {
    t.equal(comesBack(code), back, String(code))
  }
  t.ok(Object.keys(NACK_CODES).every(code => /^[a-z]+(-[a-z]+)*$/.test(code)))
})

t.test('a contract refuses names of the protocol and patterns that claim the same names', async t => {
  t.throws(() => defineChannel('a', { events: { $x: Type.Null() } }), TypeError)
  t.throws(() => defineChannel('a', { commands: { '': command(Type.Null()) } }), TypeError)
  t.throws(() => defineChannel('a b', {}), TypeError)
  const channel = (pattern: string) => defineChannel(pattern, {})
  t.throws(() => defineContract([channel('a-:x'), channel('a-:y')]), TypeError)
  t.throws(() => defineContract([channel('a'), channel('a')]), TypeError)
  t.ok(defineContract([channel('a'), channel('a-:x'), channel('a-b-:x')]))
})

t.test('the canonical text of a contract depends on its meaning alone', async t => {
  const one = defineChannel('a', {
    events: { x: Type.Object({ p: Type.String(), q: Type.Number() }), y: ephemeral(Type.Null()) }
  })
  const same = defineChannel('a', {
    events: { y: ephemeral(Type.Null()), x: Type.Object({ q: Type.Number(), p: Type.String() }) }
  })
  const other = defineChannel('a', {
    events: { x: Type.Object({ p: Type.String(), q: Type.Number() }), y: Type.Null() }
  })
  t.not(canonicalContract([one]), canonicalContract([other]))
  t.equal(eventSchema(one.events.y).type, 'null')
  t.equal(eventSchema(other.events.y).type, 'null')
  t.equal(JSON.parse(canonicalContract([one, other])).length, 2)
  t.equal(canonicalContract([one]), canonicalContract([same]))
})
