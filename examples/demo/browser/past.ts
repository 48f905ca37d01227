import type { Gap, HistoryOptions, LoadState, Received } from 'fastify-channels/client'

/** As many are shown of what was there before the page was. */
const ENOUGH = 50

/** A channel, as far as its log is concerned. */
interface Log<M> {
  history(options: HistoryOptions): Promise<{ readonly messages: readonly M[]; readonly complete: boolean }>
}

/** Where what was loaded goes. */
interface Shown<M> {
  /** May be called with what is shown already. */
  readonly show: (message: M, gap: Gap | null) => void
  /** Something is missing before what is shown next. */
  readonly missing: (words: string) => void
}

/**
 * Loads what a channel's log has of one event: the last ones when the page is new, and after a gap all that is still there.
 * Only what is gone for good is called missing.
 */
export function loadPast<M extends Received, K extends M['cmd']>(
  log: Log<M>,
  cmd: K,
  { show, missing }: Shown<Extract<M, { cmd: K }>>
): LoadState {
  const counts = (message: M): message is Extract<M, { cmd: K }> => message.cmd === cmd
  return async ({ gap }) => {
    const past = await readBack(log, read => {
      return gap?.from === undefined ? read.filter(counts).length >= ENOUGH : closes(gap, read)
    })
    if (gap !== null && !closes(gap, past)) missing(WORDS[gap.reason])
    for (const message of past.filter(counts)) show(message, gap)
  }
}

/** Reads from the end back, until it is enough or all. Oldest first. */
async function readBack<M extends Received>(log: Log<M>, enough: (read: readonly M[]) => boolean): Promise<M[]> {
  const read: M[] = []
  for (;;) {
    const before = read[0]?.position
    const { messages, complete } = await log.history(before === undefined ? {} : { before })
    read.unshift(...messages)
    if (complete || enough(read)) return read
  }
}

/** Whether these messages follow on what was there before the gap. */
function closes({ from, reason }: Gap, [first]: readonly Received[]): boolean {
  if (from === undefined || reason === 'rewound') return false
  return first?.position !== undefined && first.position.offset <= from + 1
}

const WORDS: Readonly<Record<Gap['reason'], string>> = {
  trimmed: 'You were disconnected for so long that the server has not kept all of what came meanwhile.',
  'epoch-lost': 'You were disconnected, and the server has begun anew. What came meanwhile may be missing.',
  rewound: 'You were disconnected, and the server is back at an older state. It does not have all of the above.',
  'over-limit': 'You were disconnected. Some of what came meanwhile is missing.',
  slow: 'More came than this page could take. Some of it is missing.',
  'store-error': 'The server could not read all of what it has kept. Something is missing here.'
}
