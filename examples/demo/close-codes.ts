/** Our own close code for a sign-out. Codes from 4600 tell the client to stay away. */
export const SIGNED_OUT = 4600
