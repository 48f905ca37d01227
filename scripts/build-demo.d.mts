export function buildDemo(target: string, options?: { readonly fromSources?: boolean }): Promise<string>
