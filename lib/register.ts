import type { Profile } from './protocol/profile.ts'

/**
 * What the application registers of its own types; empty until it says
 * `declare module 'fastify-channels' { interface Register { contract: Contract; profile: MyProfile } }`.
 */
// biome-ignore lint/suspicious/noEmptyInterface: it is there to be merged with
export interface Register {}

/** The contract that `app.sockets` is typed by; `unknown` where none was registered. */
export type RegisteredContract = Register extends { readonly contract: infer C } ? C : unknown

/** The profile that the host's loader returns. */
export type RegisteredProfile = Register extends { readonly profile: infer P extends Profile } ? P : Profile
