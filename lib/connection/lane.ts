type Task = () => void | Promise<void>

/**
 * Runs tasks one after another, in the order they came; one that finishes in the same turn costs no wait. Tasks do not
 * throw: whoever hands one in has caught what can go wrong.
 */
export class Lane {
  #waiting: Task[] = []
  #busy = false

  run(task: Task): void {
    this.#waiting.push(task)
    if (!this.#busy) this.#next()
  }

  #next(): void {
    this.#busy = true
    for (let task = this.#waiting.shift(); task !== undefined; task = this.#waiting.shift()) {
      const done = task()
      if (done !== undefined) {
        void done.then(() => this.#next())
        return
      }
    }
    this.#busy = false
  }
}
