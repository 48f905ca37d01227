import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { DEFAULTS } from '../../client/options.ts'
import { RESULT_AGE_MS, RESULT_CHARACTERS, RESULT_IDS } from '../../lib/broker/broker.ts'
import { MEMORY_DEFAULTS } from '../../lib/broker/memory.ts'
import { SQLITE_DEFAULTS } from '../../lib/broker/sqlite.ts'
import { DEFAULT_LOG } from '../../lib/channel/rules.ts'
import { MAX_RESUME_CHARACTERS } from '../../lib/connection/resume.ts'
import { errorTable } from '../../lib/errors.ts'
import { DEFAULT_LIMITS, DEFAULT_TIMES } from '../../lib/options.ts'
import { CLOSE_CODES } from '../../lib/protocol/close-code.ts'
import { NACK_CODES } from '../../lib/protocol/system.ts'
import { COOKIE_DEFAULTS } from '../../lib/request/cookie.ts'
import type { Page } from '../fixtures/docs.ts'
import { anchorsOf, linksOf, proseOf, read, readPages, root, tableUnder } from '../fixtures/docs.ts'

const pages = readPages()
const pageAt = (path: string): Page => pages.find(page => page.path === path)!
const errors = pageAt('docs/errors.md')
const options = pageAt('docs/options.md')

t.test('errors.md holds the table of errors, code, status and text, and no other', async t => {
  const expected = Object.entries(errorTable).map(([code, [status, text]]) => [
    code,
    String(status),
    text.replaceAll('%%', '%')
  ])
  t.strictSame(tableUnder(errors, 'Errors of the server').sort(), expected.sort())
})

t.test('errors.md holds the table of refusals, and no other', async t => {
  const expected = Object.entries(NACK_CODES).map(([code, { retry, meaning }]) => [code, retry ? 'yes' : 'no', meaning])
  t.strictSame(tableUnder(errors, 'Refusals on the wire'), expected)
})

t.test("errors.md holds the client's own codes, and no other", async t => {
  const codes = literalsOf('client/errors.ts', 'ClientCode')
  t.ok(codes.length > 10, 'they were found')
  t.strictSame(
    tableUnder(errors, 'Codes of the client').map(([code]) => code),
    codes
  )
})

t.test('close-codes.md holds the table of close codes, and no other', async t => {
  const rows = tableUnder(pageAt('docs/close-codes.md'), 'The table')
  const expected = CLOSE_CODES.map(({ code, name, reason, retry }) => [
    String(code),
    name,
    reason,
    retry ? 'yes' : 'no'
  ])
  t.strictSame(
    rows.map(row => row.slice(0, 4)),
    expected
  )
  for (const [code, , , , when] of rows) t.ok(when, `${code} says when`)
})

t.test('options.md holds the limits and times with their defaults and least values, and no other', async t => {
  const limits = tableUnder(options, 'Limits')
  t.strictSame(
    limits.map(([name, value]) => [name, value]),
    Object.entries(DEFAULT_LIMITS).map(shown)
  )
  t.strictSame(
    limits.map(([name, , , least]) => [name, least]),
    leastValues('LIMITS_SCHEMA')
  )
  const times = tableUnder(options, 'Times')
  t.strictSame(
    times.map(([name, value]) => [name, value]),
    Object.entries(DEFAULT_TIMES).map(shown)
  )
  t.strictSame(
    times.map(([name, , least]) => [name, least]),
    leastValues('OPTIONS_SCHEMA')
  )
})

t.test('options.md names every option of the plugin, and no other', async t => {
  const known = membersOf('plugins/channels.ts', 'ChannelsOptions')
  t.ok(known.length > 10, 'they were found')
  const named = tableUnder(options, 'General').map(([name]) => name!)
  t.strictSame(named.sort(), [...known, ...Object.keys(DEFAULT_TIMES)].sort())
})

t.test('brokers.md holds the options of each broker with their defaults, and every member of a broker', async t => {
  const brokers = pageAt('docs/brokers.md')
  t.strictSame(
    tableUnder(brokers, '`memory()`').map(([name, value]) => [name, value]),
    Object.entries(MEMORY_DEFAULTS).map(shown)
  )
  t.strictSame(
    tableUnder(brokers, '`sqlite()`').map(([name, value]) => [name, value!.replaceAll("'", '')]),
    Object.entries({ path: 'required', ...SQLITE_DEFAULTS }).map(shown)
  )
  const members = membersOf('lib/broker/broker.ts', 'Broker')
  t.ok(members.length > 10, 'they were found')
  t.strictSame(
    tableUnder(brokers, 'Write your own').map(([name]) => name!.replace(/\(.*/, '')),
    members
  )
})

t.test('controllers.md names every option of each controller, and no other', async t => {
  const controllers = pageAt('docs/controllers.md')
  for (const [file, heading, name] of [
    ['notifications', '`notifications`', 'NotificationsOptions'],
    ['chat-room', '`chatRooms`', 'ChatRoomsOptions'],
    ['connect', '`connect`', 'ConnectOptions']
  ] as const) {
    const named = tableUnder(controllers, heading).flatMap(([cell]) => cell!.split(/`, `/))
    const members = membersOf(`controllers/${file}.ts`, name)
    t.ok(members.length > 2, `${name} was found`)
    t.strictSame(named.map(option => option.replace(/`|\(.*/g, '')).sort(), members.sort(), name)
  }
})

t.test('the bounds that the pages tell are those of the sources', async t => {
  const { entries, ageMs, bytes } = DEFAULT_LOG
  t.match(pageAt('docs/contract.md').text, `the last ${entries.toLocaleString('en-US')} publications`)
  t.match(
    pageAt('docs/contract.md').text,
    `${ageMs / 3_600_000} hours (\`ageMs: 86_400_000\`), ${bytes / 1_048_576} MiB`
  )
  const answers = [`${RESULT_AGE_MS / 60_000} minutes`, RESULT_IDS, RESULT_CHARACTERS].map(value =>
    value.toLocaleString('en-US')
  )
  for (const path of ['docs/protocol.md', 'docs/guarantees.md', 'docs/brokers.md']) {
    for (const value of answers) t.match(pageAt(path).text, value, `${path}: ${value}`)
  }
  t.match(pageAt('docs/protocol.md').text, `has at most ${MAX_RESUME_CHARACTERS.toLocaleString('en-US')} characters`)
  const codes = pages.flatMap(page => [...page.text.matchAll(/FST_CHANNELS_[A-Z_]+[A-Z]/g)].map(([code]) => code))
  t.strictSame(
    [...new Set(codes)].filter(code => !Object.hasOwn(errorTable, code)),
    [],
    'codes'
  )
})

t.test('client.md and security.md name every option of the client and the cookie, with the defaults', async t => {
  const named = new Map(tableUnder(pageAt('docs/client.md'), 'Options').map(([name, value]) => [name!, value!]))
  const { backoff, queue, ...rest } = DEFAULTS
  const nested = (prefix: string, values: object) =>
    Object.entries(values).map(([key, value]): [string, unknown] => [`${prefix}.${key}`, value])
  const all = [...Object.entries(rest), ...nested('backoff', backoff), ...nested('queue', queue)]
  t.strictSame([...named.keys()].sort(), all.map(([name]) => name).sort())
  for (const [name, value] of all) {
    if (typeof value === 'number') t.equal(named.get(name), shown([name, value])[1], name)
    else if (typeof value !== 'object' && typeof value !== 'function' && value !== undefined)
      t.match(named.get(name), String(value), name)
  }
  const cookie = new Map(
    tableUnder(pageAt('docs/security.md'), 'The signed cookie').map(([name, value]) => [name!, value!])
  )
  t.strictSame([...cookie.keys()].sort(), ['secret', ...Object.keys(COOKIE_DEFAULTS)].sort())
  for (const [name, value] of Object.entries(COOKIE_DEFAULTS)) {
    t.equal(cookie.get(name)!.replaceAll("'", ''), shown([name, value])[1], name)
  }
})

t.test('everything that is exported is in the documentation', async t => {
  const text = pages.map(page => page.text).join('\n')
  for (const path of [
    'plugins/index.ts',
    'client/index.ts',
    'controllers/index.ts',
    'lib/protocol/index.ts',
    'test/kit/index.ts'
  ]) {
    const missing = exportsOf(path).filter(name => !new RegExp(`\\b${name}\\b`).test(text))
    t.strictSame(missing, [], path)
  }
  for (const [path, name] of [
    ['plugins/sockets.ts', 'Sockets'],
    ['plugins/sockets.ts', 'ChannelHandle'],
    ['lib/request/page-state.ts', 'PageState'],
    ['lib/channel/rules.ts', 'CommandContext'],
    ['lib/channel/rules.ts', 'ChannelRules'],
    ['lib/channel/rules.ts', 'ChannelLimits'],
    ['client/channel.ts', 'ChannelEvents'],
    ['client/socket.ts', 'SocketEvents']
  ] as const) {
    const members = membersOf(path, name)
    t.ok(members.length > 1, `${name} was found`)
    t.strictSame(
      members.filter(member => !text.includes(member)),
      [],
      `members of ${name}`
    )
  }
})

t.test('every link leads somewhere', async t => {
  for (const page of pages) {
    for (const { target, file, anchor } of linksOf(page)) {
      t.ok(existsSync(join(root, file)), `${page.path}: ${target}`)
      if (anchor !== undefined) t.ok(anchorsOf(file).includes(anchor), `${page.path}: ${target}`)
    }
  }
})

t.test('every page of docs/ is reached from the README', async t => {
  const reached = new Set(linksOf(pageAt('README.md')).map(({ file }) => file))
  t.strictSame(
    pages.map(({ path }) => path).filter(path => path !== 'README.md' && !reached.has(path)),
    []
  )
})

t.test('no page tells its readers that a thing is easy, and none has a line of its own machine in it', async t => {
  for (const page of pages) {
    const found = proseOf(page).match(/\b(just|simply|simple|easy|easily|obvious(ly)?|of course|trivial(ly)?)\b/gi)
    t.strictSame(found ?? [], [], page.path)
    t.notMatch(page.text, /\/(work|home|Users|root)\//, page.path)
    t.notMatch(proseOf(page), /\b(behavior|color|authoriz|serializ|license\b(?!\.))/, `${page.path}: British spelling`)
  }
})

t.test('the picture is XML, has words for those who cannot see it, and brings its own background', async t => {
  const svg = read('docs/concepts.svg')
  t.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/)
  t.match(svg, /<title id="t">.+<\/title>/)
  t.match(svg, /<rect [^>]*width="918" [^>]*fill="#f6f8fa"/)
  t.notMatch(svg, /<script|href=|@import|url\(http/)
})

function shown([name, value]: [string, unknown]): [string, string] {
  return [name, typeof value === 'number' ? value.toLocaleString('en-US') : String(value)]
}

function parse(path: string): ts.SourceFile {
  return ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest, true)
}

/** The names that a file exports, one by one; those of `export *` are the file's that it names. */
function exportsOf(path: string): string[] {
  return parse(path).statements.flatMap(statement => {
    if (!ts.isExportDeclaration(statement)) return []
    const { exportClause } = statement
    if (exportClause === undefined || !ts.isNamedExports(exportClause)) return []
    return exportClause.elements.map(element => element.name.text).filter(name => name !== 'default')
  })
}

/** The names of an interface's own members. */
function membersOf(path: string, name: string): string[] {
  const found = parse(path).statements.find(
    (statement): statement is ts.InterfaceDeclaration =>
      ts.isInterfaceDeclaration(statement) && statement.name.text === name
  )
  return [...new Set(found?.members.map(member => member.name!.getText()) ?? [])]
}

/** The string literals of a union type. */
function literalsOf(path: string, name: string): string[] {
  const found = parse(path).statements.find(
    (statement): statement is ts.TypeAliasDeclaration =>
      ts.isTypeAliasDeclaration(statement) && statement.name.text === name
  )
  const { types } = found!.type as ts.UnionTypeNode
  return types.flatMap(type =>
    ts.isLiteralTypeNode(type) && ts.isStringLiteral(type.literal) ? [type.literal.text] : []
  )
}

/** Name and least value of each number in a table of schemas of lib/options.ts. */
function leastValues(table: string): string[][] {
  const text = read('lib/options.ts')
  const [, body] = new RegExp(`const ${table} = \\{\\n([\\s\\S]*?)\\n\\}`).exec(text)!
  return [...body!.matchAll(/^ {2}(\w+): count\(([\d_]+)/gm)].map(([, name, least]) => [
    name!,
    Number(least!.replaceAll('_', '')).toLocaleString('en-US')
  ])
}
