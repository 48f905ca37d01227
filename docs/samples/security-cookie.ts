import { strict as assert } from 'node:assert'
// #region cookie

import fastify from 'fastify'
import channels, { act, unauthorized } from 'fastify-channels'

const { COOKIE_SECRET = '', OLD_COOKIE_SECRET } = process.env
const app = fastify()
await app.register(channels, {
  cookie: {
    // The first one signs, all of them verify: put a new secret in front, take the old one out later.
    secret: OLD_COOKIE_SECRET ? [COOKIE_SECRET, OLD_COOKIE_SECRET] : COOKIE_SECRET,
    maxAgeSeconds: 24 * 60 * 60,
    sameSite: 'strict'
  }
})
app.post<{ Body: { user: string; password: string } }>('/login', async (request, reply) => {
  const { user, password } = request.body
  if (!(await passwordFits(user, password))) throw unauthorized('Wrong user or password')
  app.sockets.signIn(reply, { id: user, name: user })
  return { ok: true }
})
app.post('/logout', async (_request, reply) => {
  app.sockets.signOut(reply)
  return { ok: true }
})
app.get(
  '/me',
  act('me', async (_app, ps) => ps.profile ?? { id: null })
)
// #endregion

async function passwordFits(user: string, password: string): Promise<boolean> {
  return user === 'ann' && password === 'correct horse'
}

const login = (password: string) => app.inject({ method: 'POST', url: '/login', payload: { user: 'ann', password } })
assert.equal((await login('wrong')).statusCode, 401)
const [cookie] = (await login('correct horse')).cookies
assert.equal(cookie?.httpOnly, true)
const me = await app.inject({ url: '/me', cookies: { [cookie!.name]: cookie!.value } })
assert.deepEqual(me.json(), { id: 'ann', name: 'ann' })
assert.deepEqual((await app.inject('/me')).json(), { id: null })
await app.close()
