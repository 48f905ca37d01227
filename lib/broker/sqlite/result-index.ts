/** A kept result: its command, its row, the characters of its reply. */
export interface Mark {
  readonly id: number
  readonly seq: number
  readonly size: number
}

/** The kept results of one session. */
class Marks {
  /** By id, the lowest first. */
  all: Mark[] = []
  /** Those before it are gone; the array is cut now and then. */
  first = 0
  characters = 0
  /** Rows of those that filled a hole late: they are newer than those of higher ids. */
  readonly late = new Set<number>()
}

/**
 * Where the results of a file stand. It is in memory, since an index in the file would have each commit write a page for each
 * session: that is most of what a disk is slow with.
 */
export class ResultIndex {
  readonly #sessions = new Map<number, Marks>()

  add(session: number, mark: Mark): void {
    let marks = this.#sessions.get(session)
    if (marks === undefined) {
      marks = new Marks()
      this.#sessions.set(session, marks)
    }
    const { all } = marks
    const last = all.at(-1)
    // A hole that is filled comes behind those that were faster.
    if (last !== undefined && last.id > mark.id) {
      all.splice(place(marks, mark.id), 0, mark)
      marks.late.add(mark.seq)
    } else all.push(mark)
    marks.characters += mark.size
  }

  /** Takes back what was added. */
  remove(session: number, id: number): void {
    const marks = this.#sessions.get(session)!
    const [mark] = marks.all.splice(place(marks, id), 1)
    leave(marks, mark!)
    this.#cut(session, marks)
  }

  find(session: number, id: number): number | null {
    const marks = this.#sessions.get(session)
    const mark = marks?.all[place(marks, id)]
    return mark?.id === id ? mark.seq : null
  }

  /**
   * The oldest of a session that are too many, `most` of them: ids up to `id`, and those that so many characters have no
   * room for. None as long as fewer than `few` ids are.
   */
  over(session: number, id: number, characters: number, few: number, most: number): readonly Mark[] {
    const marks = this.#sessions.get(session)
    if (marks === undefined) return []
    const { all, first } = marks
    if (id - all[first]!.id < few && marks.characters <= characters) return []
    let rest = marks.characters
    let end = first
    // The newest has no newer ones that could push it out.
    for (; end < all.length - 1 && end - first < most; end++) {
      const oldest = all[end]!
      rest -= oldest.size
      if (oldest.id > id && rest <= characters) break
    }
    return all.slice(first, end)
  }

  /** The first so many of a session are gone. */
  drop(session: number, count: number): void {
    const marks = this.#sessions.get(session)
    if (marks === undefined) return
    for (let i = 0; i < count; i++) leave(marks, marks.all[marks.first++]!)
    this.#cut(session, marks)
  }

  /** Of a session whatever has a row up to that one is gone. */
  dropUpTo(session: number, seq: number): void {
    const marks = this.#sessions.get(session)
    if (marks === undefined) return
    const { all, late } = marks
    const staying: Mark[] = []
    let end = marks.first
    for (; end < all.length; end++) {
      const mark = all[end]!
      if (mark.seq <= seq) leave(marks, mark)
      else if (late.has(mark.seq)) staying.push(mark)
      else break
    }
    marks.first = end - staying.length
    for (const [i, mark] of staying.entries()) all[marks.first + i] = mark
    this.#cut(session, marks)
  }

  #cut(session: number, marks: Marks): void {
    const { first, all } = marks
    if (first === all.length) this.#sessions.delete(session)
    else if (first >= 32 && first * 2 >= all.length) {
      marks.all = all.slice(first)
      marks.first = 0
    }
  }

  end(session: number): void {
    this.#sessions.delete(session)
  }
}

function leave(marks: Marks, { seq, size }: Mark): void {
  marks.characters -= size
  marks.late.delete(seq)
}

/** Where an id stands among those that are kept, or would. */
function place({ all, first }: Marks, id: number): number {
  let low = first
  let high = all.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (all[middle]!.id < id) low = middle + 1
    else high = middle
  }
  return low
}
