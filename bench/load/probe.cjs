// Preloaded into the servers (--require). On SIGUSR2 a full garbage collection, so that what is left can be compared; for
// each message over IPC, how late the event loop was since the one before. The first one begins it: to look costs as well.
const { monitorEventLoopDelay } = require('node:perf_hooks')
require('node:v8').setFlagsFromString('--expose-gc')
const gc = require('node:vm').runInNewContext('gc')

process.on('SIGUSR2', () => {
  gc()
  gc()
})

if (process.send !== undefined) {
  let delay = null
  process.on('message', () => {
    process.send({ p99: (delay?.percentile(99) ?? 0) / 1e6, max: (delay?.max ?? 0) / 1e6 })
    delay ??= monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    delay.reset()
  })
  process.channel.unref()
}
