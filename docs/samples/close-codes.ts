import { strict as assert } from 'node:assert'
// #region codes

import { CLOSE_CODES, closeCode, comesBack } from 'fastify-channels/protocol'

const { code, reason } = closeCode('slow') // 4000, 'slow consumer: the outbox is full'
comesBack(1006) // true: the link was lost
comesBack(4100) // true: an application's code of the first range
comesBack(4600) // false
// #endregion
assert.equal(code, 4000)
assert.equal(reason, 'slow consumer: the outbox is full')
assert.ok(comesBack(1006) && comesBack(4100) && !comesBack(4600))
for (const row of CLOSE_CODES) assert.equal(comesBack(row.code), row.retry)
