import type { FastifyInstance, FastifyRequest } from 'fastify'
import { badRequest, forbidden } from 'fastify-channels'

const FORM_BYTES = 16_384

/** Lets routes take what an HTML form posts, and only from our own pages. */
export function acceptForms(app: FastifyInstance): void {
  const options = { parseAs: 'string', bodyLimit: FORM_BYTES } as const
  app.addContentTypeParser('application/x-www-form-urlencoded', options, async (_request: unknown, body: string) => {
    return new URLSearchParams(body)
  })
  // The cookie is SameSite=Lax, so that another site's form comes without it; this stops sign-ins made by others, too.
  app.addHook('onRequest', async request => {
    if (request.method === 'POST' && !isOwnPage(request)) throw forbidden('this form was not on a page of ours')
  })
}

/**
 * A field of a posted form, or of the JSON that a script posts, trimmed.
 * @throws 400 where it is too long, or empty and required
 */
export function field(request: FastifyRequest, name: string, maxLength: number, required = true): string {
  const { body } = request
  const given = body instanceof URLSearchParams ? body.get(name) : Object(body)[name]
  const value = typeof given === 'string' ? given.trim() : ''
  if (required && value === '') throw badRequest(`"${name}" is missing`)
  if (value.length > maxLength) throw badRequest(`"${name}" may have ${maxLength} characters`)
  return value
}

/** Whether the script of a page asks, which shows the outcome itself and needs no new page. */
export function isScripted(request: FastifyRequest): boolean {
  return !(request.headers.accept ?? '').includes('text/html')
}

/** Browsers send an Origin with every POST; what sends none is no browser and has no cookies to abuse. */
function isOwnPage({ headers, host }: FastifyRequest): boolean {
  const { origin } = headers
  return origin === undefined || (URL.canParse(origin) && new URL(origin).host === host)
}
