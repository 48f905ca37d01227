type Task = () => void | Promise<void>

/**
 * Runs tasks one after another, in the order they came; one that finishes in the same turn costs no wait. Tasks do not
 * throw: whoever hands one in has caught what can go wrong.
 */
export class Lane {
  /** Null where nothing waits behind what runs: most lanes never see two tasks at once. */
  #waiting: Task[] | null = null
  #busy = false

  run(task: Task): void {
    if (!this.#busy) this.#next(task)
    else if (this.#waiting === null) this.#waiting = [task]
    else this.#waiting.push(task)
  }

  #next(first: Task | undefined): void {
    this.#busy = true
    for (let task = first; task !== undefined; task = this.#shift()) {
      const done = task()
      if (done !== undefined) {
        void done.then(() => this.#next(this.#shift()))
        return
      }
    }
    this.#busy = false
  }

  #shift(): Task | undefined {
    const task = this.#waiting?.shift()
    if (this.#waiting?.length === 0) this.#waiting = null
    return task
  }
}
