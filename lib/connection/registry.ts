import { MultiMap } from '../multi-map.ts'
import type { Connection } from './connection.ts'

/** This node's open connections, by id, by user and by address. */
export class Connections {
  readonly #byId = new Map<string, Connection>()
  readonly #byUser = new MultiMap<string, Connection>()
  readonly #byAddress = new Map<string, number>()
  /** Of each user, those that are no one's any more and whose links are still there. */
  readonly #closing = new MultiMap<string, Connection>()
  /** Connections since the start. */
  opened = 0
  closed = 0

  get size(): number {
    return this.#byId.size
  }

  /** Links that are open or closing. */
  get links(): number {
    return this.opened - this.closed
  }

  get users(): number {
    return this.#byUser.size
  }

  add(connection: Connection): void {
    this.opened++
    this.#byId.set(connection.id, connection)
    this.#byAddress.set(connection.ip, this.countOfAddress(connection.ip) + 1)
    if (connection.profile !== null) this.#byUser.add(connection.profile.id, connection)
  }

  /** The connection is no one's any more; its link may still be there. */
  remove(connection: Connection): void {
    this.#byId.delete(connection.id)
    if (connection.profile === null) return
    const { id } = connection.profile
    this.#byUser.delete(id, connection)
    this.#closing.add(id, connection)
  }

  /** The link is gone: only now it stops counting for its address. */
  release(connection: Connection): void {
    this.closed++
    if (connection.profile !== null) this.#closing.delete(connection.profile.id, connection)
    const left = this.countOfAddress(connection.ip) - 1
    if (left === 0) this.#byAddress.delete(connection.ip)
    else this.#byAddress.set(connection.ip, left)
  }

  get(id: string): Connection | undefined {
    return this.#byId.get(id)
  }

  ofUser(userId: string): readonly Connection[] {
    return this.#byUser.get(userId)
  }

  /** As `ofUser`, and those that are closing: what their links still hold goes out. */
  linksOfUser(userId: string): readonly Connection[] {
    return [...this.#byUser.get(userId), ...this.#closing.get(userId)]
  }

  countOfUser(userId: string): number {
    return this.#byUser.count(userId)
  }

  countOfAddress(ip: string): number {
    return this.#byAddress.get(ip) ?? 0
  }

  /** A snapshot: connections may close while it is walked. */
  all(): readonly Connection[] {
    return [...this.#byId.values()]
  }
}
