// Draws what the benchmarks measured: `node bench/plot.mjs BENCH.json SWEEP.json FOLDER` writes an SVG for each plot.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [benchPath, sweepPath, folder] = process.argv.slice(2)
const bench = JSON.parse(readFileSync(benchPath, 'utf8'))
const sweep = JSON.parse(readFileSync(sweepPath, 'utf8'))

const WIDTH = 720
const LEFT = 150
const RIGHT = 24
const COLOURS = { ours: '#0b7285', ws: '#868e96', 'fastify-websocket': '#adb5bd', socketio: '#e8590c' }
const NAMES = { ours: 'fastify-channels', ws: 'ws', 'fastify-websocket': '@fastify/websocket', socketio: 'Socket.IO' }

write('throughput', bars('Deliveries a second', ['fan-100', 'fan-1000', 'burst20-1000']))
write('rates', bars('A second, more is better', ['handshake', 'echo']))
write('latency', bars('Latency in µs, less is better', ['lat-100', 'lat-1000']))
write('idle', bars('Bytes of an idle connection, less is better', ['idle']))
write('members', lines('Server CPU of one delivery, in ns, by members', sweep.members, 'members'))
write('memory', lines('Memory of a connection, in bytes, by channels joined', sweep.memory, 'channels'))

function write(name, svg) {
  writeFileSync(join(folder, `${name}.svg`), svg)
}

/** A bar for each server in each scenario, as long as its share of the scenario's largest. */
function bars(title, scenarios) {
  const rows = []
  let y = 56
  for (const scenario of scenarios) {
    const { key, figures } = bench.scenarios[scenario]
    const servers = Object.entries(figures).filter(([who]) => NAMES[who] !== undefined)
    const most = Math.max(...servers.map(([, of]) => of[key]))
    rows.push(text(16, y + 2, scenario, 'font-weight="600"'))
    y += 12
    for (const [who, of] of servers) {
      const width = Math.max(1, ((WIDTH - LEFT - RIGHT - 90) * of[key]) / most)
      rows.push(text(LEFT - 8, y + 13, NAMES[who], 'text-anchor="end"'))
      rows.push(`<rect x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="16" fill="${COLOURS[who]}"/>`)
      rows.push(text(LEFT + width + 6, y + 13, Math.round(of[key]).toLocaleString('en')))
      y += 21
    }
    y += 22
  }
  return svg(title, y, rows)
}

/** A line over both axes' logarithms. */
function lines(title, points, label) {
  const height = 320
  const bottom = height - 46
  const xs = points.map(({ size }) => Math.log10(size))
  const ys = points.map(({ value }) => Math.log10(value))
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)]
  const [y0, y1] = [Math.floor(Math.min(...ys)), Math.ceil(Math.max(...ys))]
  const x = size => 110 + ((WIDTH - 110 - RIGHT - 20) * (Math.log10(size) - x0)) / (x1 - x0)
  const y = value => bottom - ((bottom - 50) * (Math.log10(value) - y0)) / (y1 - y0)
  const rows = []
  for (let power = y0; power <= y1; power++) {
    const at = y(10 ** power).toFixed(1)
    rows.push(`<line x1="80" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="#dee2e6"/>`)
    rows.push(text(72, Number(at) + 4, (10 ** power).toLocaleString('en'), 'text-anchor="end"'))
  }
  for (const { size } of points)
    rows.push(text(x(size), bottom + 18, size.toLocaleString('en'), 'text-anchor="middle"'))
  rows.push(text((WIDTH + 80) / 2, bottom + 38, label, 'text-anchor="middle"'))
  const path = points.map(({ size, value }) => `${x(size).toFixed(1)},${y(value).toFixed(1)}`).join(' ')
  rows.push(`<polyline points="${path}" fill="none" stroke="${COLOURS.ours}" stroke-width="2"/>`)
  for (const { size, value } of points) {
    const at = `cx="${x(size).toFixed(1)}" cy="${y(value).toFixed(1)}"`
    rows.push(`<circle ${at} r="3.5" fill="${COLOURS.ours}"/>`)
    rows.push(text(x(size), y(value) - 9, Math.round(value).toLocaleString('en'), 'text-anchor="middle"'))
  }
  return svg(title, height, rows)
}

function text(x, y, what, more = '') {
  return `<text x="${Number(x).toFixed(1)}" y="${Number(y).toFixed(1)}" ${more}>${what}</text>`
}

function svg(title, height, rows) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${title}" font-family="system-ui, sans-serif" font-size="12" fill="#212529">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    text(16, 26, title, 'font-size="15" font-weight="600"'),
    ...rows,
    '</svg>',
    ''
  ].join('\n')
}
