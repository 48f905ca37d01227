/** Who a request is. */
export interface Profile {
  /** The user's id: a string, so that ids compare alike everywhere, of 1 to 128 characters. */
  readonly id: string
  readonly name?: string
  /** Milliseconds since 1970: from then on it is nobody's profile, and a connection of it closes 4003. */
  readonly expiresAt?: number
}
