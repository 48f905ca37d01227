/**
 * A place in a ring: between two others, or alone. A queue whose members are linked is never looked through: whoever is in
 * it leaves without being searched for, and the one that came first is known.
 */
export class Linked {
  previous: this = this
  next: this = this

  get alone(): boolean {
    return this.next === this
  }

  /** Puts another one, which is alone, before this. */
  precede(other: this): void {
    other.previous = this.previous
    other.next = this
    this.previous.next = other
    this.previous = other
  }

  /** Whoever still holds it must not hold all that came after it. */
  leave(): void {
    this.previous.next = this.next
    this.next.previous = this.previous
    this.previous = this
    this.next = this
  }
}
