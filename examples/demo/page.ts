import type { FastifyInstance } from 'fastify'
import { act } from 'fastify-channels'
import { appPage } from './app-page.ts'
import { type Html, html } from './html.ts'

/** `/`: the sign-in for who is not, the application for who is. */
export async function pageRoute(app: FastifyInstance): Promise<void> {
  app.get(
    '/',
    act('demo.page', async (_app, { profile }, { reply }) => {
      reply.type('text/html; charset=utf-8').header('cache-control', 'no-store')
      if (profile === null) return signInPage()
      return document('fastify-channels demo', appPage(profile), html`<script type="module" src="/main.js"></script>`)
    })
  )
}

export function signInPage(name = '', problem = ''): string {
  return document(
    'Sign in',
    html`<body class="sign-in">
    <main class="card">
      <img src="/icon.svg" alt="" width="48" height="48">
      <h1>fastify-channels</h1>
      <p>A small place to try it: notifications, rooms and a private page, over one socket.</p>
      <form method="post" action="/login">
        <label for="name">Your name</label>
        <input id="name" name="name" value="${name}" required maxlength="24" autocomplete="username" autocapitalize="words"
          autofocus aria-describedby="hint problem">
        <p id="hint" class="hint">No password: here anybody may be anybody. <strong>Alice</strong> and
          <strong>Bob</strong> are staff.</p>
        <p id="problem" class="problem" role="alert">${problem}</p>
        <button class="primary">Sign in</button>
      </form>
    </main>
  </body>`
  )
}

function document(title: string, body: Html, head: Html = html``): string {
  return html`<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1, interactive-widget=resizes-content">
    <meta name="color-scheme" content="light dark">
    <title>${title}</title>
    <link rel="icon" href="/icon.svg">
    <link rel="stylesheet" href="/demo.css">
    ${head}
  </head>
  ${body}
</html>
`.text
}
