/** Compiles the add-on; `to` is where it goes, beside this file unless it is told. Comes back with why it could not. */
export function build(to?: string): string | null
