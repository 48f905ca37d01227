// Preloaded into the servers (--require): a full garbage collection on SIGUSR2, so that what is left can be compared.
require('node:v8').setFlagsFromString('--expose-gc')
const gc = require('node:vm').runInNewContext('gc')
process.on('SIGUSR2', () => {
  gc()
  gc()
})
