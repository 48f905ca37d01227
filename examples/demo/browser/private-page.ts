import type { Socket } from 'fastify-channels/client'
import type { Contract } from '../channels.ts'
import { announce, byId, find, setText } from './dom.ts'
import { type Note, Notes, postInPlace } from './notes.ts'
import { loadPast } from './past.ts'
import type { View } from './views.ts'

/** The page of what comes to this user alone, through a channel that nobody else may join. */
export function privatePage(socket: Socket<Contract>, userId: string, news: () => void): View {
  const channel = socket.channel('secure-user-:id', { id: userId })
  const notes = new Notes(byId('private-list'), byId('private-empty'))
  channel.on('secure-message', (param, { position }) => {
    if (param.kind === 'pages') return setText(byId('private-pages'), pages(Number(param.count)))
    const note = param as unknown as Note
    if (!notes.add(note, position)) return
    announce(`For you alone: ${note.title}`)
    news()
  })
  channel.join({
    loadState: loadPast(channel, 'secure-message', {
      show({ param, position }, gap) {
        if (notes.add(param as unknown as Note, position) && gap !== null) news()
      },
      missing: words => notes.missing(words)
    })
  })
  channel.on('$state', ({ name }) => {
    // The cookie is another user's by now, and this page still is the former one's.
    const refused = byId('private-refused')
    refused.hidden = name !== 'refused'
    setText(refused, 'In another tab somebody else has signed in. Load this page again to go on.')
  })
  postInPlace('note')
  return { id: 'private', title: 'Private', element: find(document, 'section.private'), show() {} }
}

function pages(count: number): string {
  return count === 1 ? 'You have this one page open.' : `You have ${count} pages open.`
}
