import type { Socket, SocketState } from 'fastify-channels/client'
import type { Contract } from '../channels.ts'
import { SIGNED_OUT } from '../close-codes.ts'
import { byId, setText } from './dom.ts'

/** After so many dials in vain it is no hiccup any more. */
const AWAY_AFTER = 3

interface Shown {
  /** Also the shape of the lamp: nothing is told by colour alone. */
  readonly tone: 'good' | 'trying' | 'away' | 'out'
  readonly words: string
  readonly action?: 'Try now' | 'Sign in' | 'Connect'
}

/** What a person is told of the connection. */
function describe(state: SocketState): Shown {
  switch (state.name) {
    case 'connected':
      return { tone: 'good', words: 'Connected' }
    case 'waiting':
    case 'connecting':
      if (state.attempt === 0) return { tone: 'trying', words: 'Connecting' }
      if (state.attempt <= AWAY_AFTER)
        return { tone: 'trying', words: 'Connection lost – trying again', action: 'Try now' }
      return { tone: 'away', words: 'The server is away – trying again', action: 'Try now' }
    case 'closed':
      if (state.code === SIGNED_OUT || state.status === 401)
        return { tone: 'out', words: 'You are signed out', action: 'Sign in' }
      if (state.status === 403) return { tone: 'out', words: 'The server does not let this page in' }
      return { tone: 'out', words: 'Disconnected', action: 'Connect' }
    default:
      return { tone: 'trying', words: 'Not connected', action: 'Connect' }
  }
}

/** Keeps the connection's state in view. */
export function showConnectionState(socket: Socket<Contract>): void {
  const action = byId<HTMLButtonElement>('state-action')
  let retryAt = 0
  const show = (): void => {
    const shown = describe(socket.state)
    byId('state').dataset.tone = shown.tone
    setText(byId('state-words'), shown.words)
    // Not part of what is read aloud: it changes every second.
    setText(byId('state-countdown'), countdown(socket.state, retryAt))
    setText(byId('state-waiting'), shown.tone === 'good' ? '' : howManyWait(waitingMessages(socket)))
    setText(action, shown.action ?? '')
    action.hidden = shown.action === undefined
  }
  action.addEventListener('click', () => {
    if (action.textContent === 'Sign in') location.assign('/')
    else socket.reconnect()
  })
  socket.on('$state', state => {
    if (state.name === 'waiting') retryAt = Date.now() + state.retryInMs
    show()
  })
  socket.on('$outbox', show)
  setInterval(show, 500)
  show()
}

/** Messages that the server has not answered. That somebody types is told without ado, and is none. */
export function waitingMessages(socket: Socket<Contract>): number {
  return socket.outbox.filter(({ cmd }) => cmd === 'chat-message').length
}

function howManyWait(count: number): string {
  if (count === 0) return ''
  return count === 1 ? '1 message waits' : `${count} messages wait`
}

function countdown(state: SocketState, retryAt: number): string {
  if (state.name === 'connecting') return '…'
  if (state.name !== 'waiting') return ''
  const seconds = Math.ceil((retryAt - Date.now()) / 1000)
  return seconds > 0 ? ` in ${seconds} s` : '…'
}
