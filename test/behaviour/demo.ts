import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Browser, BrowserContextOptions } from 'playwright-core'
import t, { type Test } from 'tap'
import { isCI, locate, missingReason, services } from '../../scripts/services.mjs'
import { lowContrasts } from '../fixtures/contrast.ts'
import { Demo, launch, Person } from '../fixtures/demo.ts'

const service = services.find(({ name }) => name === 'chromium')!
const chromium = locate(service)

// Each start of the server is met only at the client's next dial, and there are many.
t.setTimeout(300_000)

if (chromium === undefined && isCI()) t.fail(missingReason(service))
else if (chromium === undefined) t.test('the demo in a browser', { skip: missingReason(service) }, () => {})
else {
  const browser = await launch(t, chromium)
  story(browser, await Demo.start(t))
}

function story(browser: Browser, demo: Demo): void {
  const signIn = async (t: Test, name: string, options?: BrowserContextOptions): Promise<Person> => {
    const person = await Person.signIn(demo, browser, name, options)
    t.teardown(() => person.leave())
    return person
  }

  t.test('two people who signed in by name chat, and see who is there and who is typing', async t => {
    const alice = await signIn(t, 'Alice')
    const bob = await signIn(t, 'Bob')
    await alice.view.getByText('2 people here').waitFor()
    t.strictSame(await bob.view.locator('.members li > span:last-child').allTextContents(), ['Bob (you)', 'Alice'])

    await alice.view.getByRole('textbox').pressSequentially('Hel')
    await bob.view.getByText('Alice is typing…').waitFor()
    await alice.write('Hello <b>Bob</b>')
    await bob.hears('Hello <b>Bob</b>')
    await bob.view.locator('.typing', { hasNotText: 'typing' }).waitFor({ state: 'attached' })
    await alice.said('Hello').getByText('Sent').waitFor()
    t.equal(await alice.outgoing('Hello').count(), 0, 'it is shown once')

    await bob.leave()
    await alice.view.getByText('Bob left').waitFor()
    await alice.view.getByText('1 person here').waitFor()
    t.strictSame(alice.errors, [])
  })

  t.test('the staff room lets alice in and tells carol kindly that it does not', async t => {
    const carol = await signIn(t, 'Carol')
    await carol.enter('Staff')
    await carol.view.getByRole('heading', { name: 'Staff is not open to you' }).waitFor()
    await carol.view.getByText('You are signed in as Carol, and this room is for Alice and Bob.').waitFor()
    t.equal(await carol.view.getByRole('textbox').count(), 0, 'there is nothing to write in')
    await carol.view.getByRole('link', { name: 'Go to the lobby' }).click()
    await carol.view.getByRole('heading', { level: 2, name: 'Lobby' }).waitFor()

    const alice = await signIn(t, 'alice')
    await alice.enter('Staff')
    await alice.write('only us')
    await alice.hears('only us')
    t.strictSame([...carol.errors, ...alice.errors], [])
  })

  t.test('a notification rings the bell of everybody, and a note to oneself reaches only the own pages', async t => {
    const [dave, erin] = await Promise.all([signIn(t, 'Dave'), signIn(t, 'Erin')])
    const tab = await dave.anotherTab()
    await dave.page.getByRole('button', { name: 'Notifications' }).click()
    const panel = dave.page.getByRole('region', { name: 'Notifications' })
    await panel.getByLabel('Title').fill('Tea is ready')
    await panel.getByLabel('Message').fill('In the kitchen')
    await panel.getByRole('button', { name: 'Send' }).click()
    await erin.page.getByRole('button', { name: 'Notifications, 1 new' }).click()
    await erin.page.locator('#bell-list').getByText('In the kitchen').waitFor()
    await erin.page.keyboard.press('Escape')
    t.ok(await erin.page.locator('#bell').evaluate(bell => bell === document.activeElement), 'Escape goes back')

    await dave.page.keyboard.press('Escape')
    await dave.enter('Private')
    await dave.view.getByText('You have 2 pages open.').waitFor()
    await dave.view.getByLabel('Title').fill('Buy milk')
    await dave.view.getByRole('button', { name: 'Send' }).click()
    await tab.enter('Private')
    await tab.view.getByText('Buy milk').waitFor()
    await erin.enter('Private')
    await erin.view.getByText('You have this one page open.').waitFor()
    t.equal(await erin.view.getByText('Buy milk').count(), 0)

    for (const person of [dave, erin]) await person.page.reload()
    await dave.view.getByText('Buy milk').waitFor()
    t.equal(await dave.view.locator('.notes li').count(), 1, 'how many pages there are is not kept')
    await erin.page.getByRole('button', { name: 'Notifications', exact: true }).click()
    await erin.page.locator('#bell-list').getByText('Tea is ready').waitFor()
    t.equal(await erin.view.getByText('Buy milk').count(), 0)
    t.strictSame([...dave.errors, ...erin.errors, ...tab.errors], [])
  })

  t.test('what is written while the server is dead is said once, and both see the same conversation', async t => {
    const [alice, bob] = [await signIn(t, 'Alice'), await signIn(t, 'Bob')]
    await alice.view.getByText('2 people here').waitFor()
    await alice.write('before the crash')
    await bob.hears('before the crash')
    await bob.write('I am here')
    await alice.hears('I am here')

    await demo.end('SIGKILL')
    await alice.sees('Connection lost – trying again')
    await alice.write('typed meanwhile')
    await alice.outgoing('typed meanwhile').getByText('Waiting').waitFor()
    await alice.page.locator('#state').getByText('1 message waits').waitFor()
    await bob.sees('– trying again')
    await bob.write('me too')
    await demo.start()
    for (const person of [alice, bob]) {
      await person.sees('Connected')
      for (const text of ['typed meanwhile', 'me too']) await person.hears(text)
    }
    await alice.said('typed meanwhile').getByText('Sent').waitFor()
    await alice.write('and then this')
    await bob.hears('and then this')
    await alice.isSettled()

    const said = await alice.conversation()
    t.strictSame(said.slice(-5).toSorted(), [
      'I am here',
      'and then this',
      'before the crash',
      'me too',
      'typed meanwhile'
    ])
    t.strictSame(await bob.conversation(), said)
    t.equal(await alice.view.getByText('You were disconnected').count(), 0, 'nothing is missing')

    await alice.page.reload()
    await alice.sees('Connected')
    t.equal(await alice.page.locator('body').getAttribute('data-user-name'), 'Alice', 'the cookie is as good as before')
    await alice.hears('and then this')
    t.strictSame(await alice.conversation(), said, 'a page that is loaded anew has it all')
    t.strictSame([...alice.errors, ...bob.errors], [])
  })

  t.test('a message whose answer was lost with the server is there exactly once', async t => {
    const grace = await Person.meet(demo, browser)
    t.teardown(() => grace.leave())
    const answers = await grace.holdAnswers()
    await grace.signIn('Grace')
    const bob = await signIn(t, 'Bob')
    await bob.view.getByText('2 people here').waitFor()

    answers.hold()
    await grace.write('did it arrive?')
    await bob.hears('did it arrive?')
    t.equal(await grace.said('did it arrive?').count(), 0)
    await demo.end('SIGKILL')
    await grace.outgoing('did it arrive?').getByText('Waiting').waitFor()
    answers.letThrough()
    await demo.start()

    await grace.said('did it arrive?').getByText('Sent').waitFor()
    await grace.isSettled()
    await grace.write('it did')
    await bob.hears('it did')
    await grace.said('it did').getByText('Sent').waitFor()
    for (const person of [grace, bob])
      t.strictSame((await person.conversation()).slice(-2), ['did it arrive?', 'it did'])
    t.strictSame([...grace.errors, ...bob.errors], [])
  })

  t.test('a message that the server was sent and did not get to is there exactly once', async t => {
    const frank = await signIn(t, 'Frank')
    // Before its first command a session is not kept, and one that is new can only say that it does not know.
    await frank.write('the first')
    await frank.isSettled()
    demo.freeze()
    await frank.write('into the ice')
    await frank.outgoing('into the ice').getByText('Sending').waitFor({ state: 'attached' })
    await demo.end('SIGKILL')
    await demo.start()
    await frank.said('into the ice').getByText('Sent').waitFor()
    await frank.isSettled()
    t.equal(await frank.said('into the ice').count(), 1)
  })

  t.test('where what was kept is lost the page says so, and does not send again what may have arrived', async t => {
    const oscar = await signIn(t, 'Oscar')
    await oscar.write('will be lost')
    await oscar.hears('will be lost')
    demo.freeze()
    await oscar.write('nobody can tell')
    await oscar.outgoing('nobody can tell').getByText('Sending').waitFor({ state: 'attached' })
    await demo.end('SIGKILL')
    demo.wipe()
    await demo.start()
    await oscar.view.getByText('You were disconnected, and the server has begun anew.').waitFor()
    await oscar.outgoing('nobody can tell').getByText('We do not know whether it arrived.').waitFor()

    await oscar.write('something else')
    await oscar.said('something else').getByText('Sent').waitFor()
    t.equal(await oscar.said('nobody can tell').count(), 0, 'nobody has heard it')
    await oscar.outgoing('nobody can tell').getByRole('button', { name: 'Send again' }).click()
    await oscar.said('nobody can tell').getByText('Sent').waitFor()
    await oscar.isSettled()
    t.strictSame(oscar.errors, [])
  })

  t.test('signing out ends every tab of that browser and no other one', async t => {
    const heidi = await signIn(t, 'Heidi')
    const tab = await heidi.anotherTab()
    const elsewhere = await signIn(t, 'Heidi')
    await heidi.page.getByRole('button', { name: 'Sign out' }).click()
    await heidi.page.getByLabel('Your name').waitFor()
    await tab.sees('You are signed out')
    await elsewhere.write('still here')
    await elsewhere.said('still here').getByText('Sent').waitFor()
    await tab.page.getByRole('button', { name: 'Sign in' }).click()
    await tab.page.getByLabel('Your name').waitFor()
  })

  t.test('each socket has its path, and none is for who is not signed in', async t => {
    const nina = await signIn(t, 'Nina')
    for (const path of ['notifications', 'chat/lobby', 'secure', 'connect']) {
      t.equal((await nina.context.request.get(`${demo.url}/ws/${path}`)).status(), 426, path)
      t.equal((await fetch(`${demo.url}/ws/${path}`)).status, 401, path)
    }
    t.equal((await nina.context.request.get(`${demo.url}/ws/chat/staff`)).status(), 403)
  })

  t.test(
    'forms are taken from scripts as well: urlencoded or as JSON, and with an error that says what is wrong',
    async t => {
      const post = (path: string, headers: Record<string, string>, body: string) =>
        fetch(`${demo.url}${path}`, { method: 'POST', headers, body, redirect: 'manual' })
      const form = { 'content-type': 'application/x-www-form-urlencoded' }
      const json = { 'content-type': 'application/json' }
      t.equal((await post('/login', form, 'name=frank')).status, 303)
      const login = await post('/login', json, JSON.stringify({ name: 'frank' }))
      t.equal(login.status, 303)
      const cookie = String(login.headers.get('set-cookie')).split(';')[0]!
      const note = JSON.stringify({ title: 'Hi', message: 'There' })
      t.equal((await post('/notify', { ...json, cookie }, note)).status, 204)
      t.equal((await post('/notify', json, note)).status, 401)
      t.equal((await post('/notify', { ...json, cookie }, '{"title":7}')).status, 400)
      t.equal((await post('/notify', { ...json, cookie }, 'null')).status, 400)
    }
  )

  t.test('a page of another origin gets no socket, though the browser sends the cookie along', async t => {
    const ivan = await signIn(t, 'Ivan')
    const elsewhere = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html').end(`<p>waiting</p><script>
        const socket = new WebSocket('${demo.url.replace('http', 'ws')}/ws/connect', 'channels.v1')
        const tell = text => () => { document.querySelector('p').textContent = text }
        socket.onopen = tell('open')
        socket.onclose = tell('refused')
      </script>`)
    }).listen(0, '127.0.0.1')
    await once(elsewhere, 'listening')
    const page = await ivan.context.newPage()
    const failure = page.waitForEvent('websocket').then(socket => socket.waitForEvent('socketerror'))
    await page.goto(`http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}`)
    await page.locator('p', { hasText: 'refused' }).waitFor()
    t.match(await failure, /403/)

    const forged = await ivan.context.request.post(`${demo.url}/notify`, {
      form: { title: 'forged' },
      headers: { origin: 'http://127.0.0.1:1' }
    })
    t.equal(forged.status(), 403, 'and its forms are not taken')
    elsewhere.closeAllConnections()
    elsewhere.close()
    await once(elsewhere, 'close')
  })

  t.test('a message can be sent by keyboard alone', async t => {
    const judy = await signIn(t, 'Judy')
    const focused = () => judy.page.evaluate(() => document.activeElement?.id ?? '')
    await judy.page.keyboard.press('Tab')
    t.equal(await judy.page.evaluate(() => document.activeElement?.textContent), 'Skip to the content')
    await judy.page.keyboard.press('Enter')
    t.equal(await focused(), 'content')
    for (let presses = 0; presses < 5 && !(await focused()).startsWith('write-'); presses++) {
      await judy.page.keyboard.press('Tab')
    }
    await judy.page.keyboard.type('one')
    await judy.page.keyboard.press('Shift+Enter')
    await judy.page.keyboard.type('two')
    await judy.page.keyboard.press('Enter')
    await judy.hears('one two')
    t.equal(await judy.said('one two').locator('.text').textContent(), 'one\ntwo')
    t.match(await focused(), /^write-/, 'and the next one may follow at once')
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    t.test(`every control has a name, every text its contrast, and nothing is cut off: ${colorScheme}`, async t => {
      const kim = await signIn(t, 'Kim', { colorScheme, viewport: { width: 320, height: 640 } })
      await kim.write(`good day, ${colorScheme}`)
      await kim.hears(`good day, ${colorScheme}`)
      await kim.page.getByRole('button', { name: 'Notifications' }).click()
      await checkPage(t, kim)
      await kim.page.keyboard.press('Escape')
      for (const place of ['Staff', 'Private', 'Lobby']) {
        await kim.enter(place)
        await checkPage(t, kim)
      }
      await demo.end('SIGKILL')
      await kim.write(`later, ${colorScheme}`)
      await kim.outgoing('later').getByText('Waiting').waitFor()
      await checkPage(t, kim)
      await demo.start()
      await kim.hears(`later, ${colorScheme}`)
    })
  }

  t.test('the server ends by itself when it is asked to, though a page is connected', async t => {
    const leo = await signIn(t, 'Leo')
    t.equal(await demo.end('SIGTERM'), 0)
    // Lost, or away: the page may have tried in vain before the process has ended.
    await leo.sees('– trying again')
  })
}

async function checkPage(t: Test, { page }: Person): Promise<void> {
  const snapshot = await page.locator('body').ariaSnapshot()
  t.notMatch(snapshot, /^\s*- (?:button|link|textbox|log|navigation)(?! ")/m, 'each has a name')
  t.strictSame(await page.evaluate(lowContrasts), [])
  t.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320)
}
