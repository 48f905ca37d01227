import type { Profile } from '../protocol/profile.ts'

/** Whom a log means by an exception: it outlives connections, so sessions and users are named. */
export function sessionAddress(session: string): string {
  return `s:${session}`
}

export function userAddress(userId: string): string {
  return `u:${userId}`
}

/** Whether one of these addresses is this connection's. */
export function isAddressed(
  { session, profile }: { readonly session: string; readonly profile: Profile | null },
  addresses: readonly string[]
): boolean {
  if (addresses.length === 0) return false
  return (
    addresses.includes(sessionAddress(session)) || (profile !== null && addresses.includes(userAddress(profile.id)))
  )
}
