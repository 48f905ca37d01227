import { chatRoomChannel, notificationsChannel, secureUserChannel } from 'fastify-channels/controllers'
import { defineContract } from 'fastify-channels/protocol'

/** All that goes through the demo's socket. The server is typed by it, and so is the page, which imports its type alone. */
export const contract = defineContract([notificationsChannel, chatRoomChannel, secureUserChannel])
export type Contract = typeof contract

export interface DemoProfile {
  readonly id: string
  readonly name: string
  /** Tells one sign-in from another of the same person, so that signing out ends what belongs to this one. */
  readonly login: string
}

declare module 'fastify-channels' {
  interface Register {
    contract: Contract
    profile: DemoProfile
  }
}
