/** Who a request is. */
export interface Profile {
  /** The user's id: a string, so that ids compare alike everywhere, of 1 to 128 characters. */
  readonly id: string
  readonly name?: string
}
