// Deliveries a second from one publisher to many subscribers, this package against plain ws: rounds by turns in one run,
// since only the ratio means anything on a shared machine. `npm run build && node bench/fan-out.mjs [subscribers] [burst]`
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'

const subscribers = Number(process.argv[2] ?? 500)
const burst = Number(process.argv[3] ?? 1)
const ROUNDS = 5
const ROUND_MS = 2_000
const MESSAGE = JSON.stringify({ channel: 'bench', cmd: 'm', param: 'x'.repeat(120) })
const FRAME_BYTES = MESSAGE.length + (MESSAGE.length < 126 ? 2 : 4)

const results = { ours: [], ws: [] }
for (let round = 0; round < ROUNDS; round++) {
  for (const name of round % 2 === 0 ? ['ours', 'ws'] : ['ws', 'ours']) results[name].push(await measure(name))
}
const ratios = results.ours.map((rate, i) => rate / results.ws[i])
console.log(`${subscribers} subscribers, ${burst} message(s) at once, ${ROUNDS} rounds of ${ROUND_MS / 1000} s`)
for (const [name, rates] of Object.entries(results))
  console.log(`${name.padEnd(5)}${Math.round(median(rates))} deliveries/s`)
console.log(
  `ratio ${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`
)

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
}

async function measure(name) {
  const server = fork(new URL(`servers/${name}.mjs`, import.meta.url))
  const [port] = await once(server, 'message')
  const links = []
  for (let i = 0; i < subscribers; i += 50) {
    links.push(...(await Promise.all(Array.from({ length: Math.min(50, subscribers - i) }, () => open(port)))))
  }
  const started = performance.now()
  let sent = 0
  while (performance.now() - started < ROUND_MS) {
    sent += burst
    links[0].socket.write(Buffer.concat(Array(burst).fill(masked(MESSAGE))))
    await Promise.all(links.map(link => link.until(sent * FRAME_BYTES)))
  }
  const seconds = (performance.now() - started) / 1000
  for (const { socket } of links) socket.destroy()
  server.kill()
  await once(server, 'exit')
  return (sent * subscribers) / seconds
}

/** A subscriber that counts bytes: to parse frames would cost more than to send them. */
async function open(port) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.write(`GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`)
  socket.write('Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')
  await once(socket, 'data')
  const link = { socket, bytes: 0, wanted: 0, done: () => {}, until }
  socket.on('data', data => {
    link.bytes += data.length
    if (link.bytes >= link.wanted) link.done()
  })
  return link
}

function until(bytes) {
  this.wanted = bytes
  return new Promise(resolve => {
    this.done = resolve
    if (this.bytes >= bytes) resolve()
  })
}

/** A client's frame (RFC 6455 §5.3), masked by zeros. */
function masked(text) {
  const header = text.length < 126 ? [0x81, 0x80 | text.length] : [0x81, 0xfe, text.length >> 8, text.length & 255]
  return Buffer.concat([Buffer.from([...header, 0, 0, 0, 0]), Buffer.from(text)])
}
