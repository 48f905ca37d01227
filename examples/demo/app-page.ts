import type { DemoProfile } from './channels.ts'
import { type Html, html } from './html.ts'
import { ROOMS } from './rooms.ts'

const icon = (path: string): Html =>
  html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d="${path}"/></svg>`

const BELL = icon('M6 17V11a6 6 0 0 1 12 0v6l2 2H4zM10 21h4')
const LOCK = icon('M6 11h12v9H6zM9 11V8a3 3 0 0 1 6 0v3M12 14.5v2')

/** The page of who is signed in. What is live in it is filled in by browser/. */
export function appPage(profile: DemoProfile): Html {
  return html`<body class="app" data-user-id="${profile.id}" data-user-name="${profile.name}">
    <a class="skip" href="#content">Skip to the content</a>
    <header>
      <h1 id="brand"><img src="/icon.svg" alt="" width="28" height="28"> <span>fastify-channels</span></h1>
      ${connectionState()}
      <div class="tools">
        <button type="button" id="bell" class="quiet" aria-expanded="false" aria-controls="bell-panel">
          ${BELL}<span id="bell-label" class="visually-hidden">Notifications</span>
          <span id="bell-count" class="badge" aria-hidden="true" hidden></span>
        </button>
        ${bellPanel()}
        <form method="post" action="/logout" class="signed-in">
          <span class="who">${profile.name}</span>
          <button class="quiet">Sign out</button>
        </form>
      </div>
    </header>
    ${navigation()}
    <main id="content" tabindex="-1">
      <noscript><p class="notice">This page needs JavaScript for its live parts.</p></noscript>
      ${privatePage()}
    </main>
    <p id="announcer" class="visually-hidden" role="status"></p>
    ${roomTemplate()}
  </body>`
}

function connectionState(): Html {
  return html`<div id="state" class="state" data-tone="trying">
        <span class="lamp" aria-hidden="true"></span>
        <p><span role="status" id="state-words">Connecting</span><span id="state-countdown" aria-hidden="true"></span>
          <span id="state-waiting"></span></p>
        <button type="button" id="state-action" class="small" hidden></button>
      </div>`
}

function bellPanel(): Html {
  return html`<section id="bell-panel" class="panel" aria-labelledby="bell-title" hidden>
          <h2 id="bell-title">Notifications</h2>
          <ol id="bell-list" class="notes"></ol>
          <p id="bell-empty" class="hint">None yet.</p>
          <form id="notify" method="post" action="/notify">
            <h3>Send one to everybody</h3>
            ${noteFields('bell')}
            <p class="outcome" role="status"></p>
            <button class="primary">Send</button>
          </form>
        </section>`
}

function navigation(): Html {
  const links = ROOMS.map(
    ({ id, title }) => html`<li><a href="#${id}" data-view="${id}">${title}<span class="badge" hidden></span></a></li>`
  )
  return html`<nav aria-label="Places">
      <ul>
        ${links}
        <li><a href="#private" data-view="private">Private<span class="badge" hidden></span></a></li>
      </ul>
    </nav>`
}

function privatePage(): Html {
  return html`<section class="view private" data-view="private" aria-labelledby="private-title" hidden>
        <h2 id="private-title" tabindex="-1">Private</h2>
        <p class="about">Only you see what comes here, on every page that you have open. <span id="private-pages"></span></p>
        <p id="private-refused" class="notice" hidden></p>
        <ol id="private-list" class="notes"></ol>
        <p id="private-empty" class="hint">Nothing yet. Send yourself a note, and watch it arrive on all your pages.</p>
        <form id="note" method="post" action="/notify">
          <h3>A note to yourself</h3>
          <input type="hidden" name="to" value="me">
          ${noteFields('private')}
          <p class="outcome" role="status"></p>
          <button class="primary">Send</button>
        </form>
      </section>`
}

function noteFields(prefix: string): Html {
  return html`<label for="${prefix}-note-title">Title</label>
            <input id="${prefix}-note-title" name="title" required maxlength="80" autocomplete="off">
            <label for="${prefix}-note-message">Message</label>
            <textarea id="${prefix}-note-message" name="message" rows="2" maxlength="500"></textarea>`
}

/** What the script makes each room from. */
function roomTemplate(): Html {
  return html`<template id="room">
      <section class="view room">
        <div class="heading">
          <h2 tabindex="-1"></h2>
          <p class="about"></p>
        </div>
        <div class="members">
          <h3></h3>
          <ul></ul>
        </div>
        <div class="refused" hidden>
          ${LOCK}
          <h3></h3>
          <p></p>
          <a class="primary" href="#lobby">Go to the lobby</a>
        </div>
        <div class="talk">
          <div class="log" role="log" tabindex="0"><ol class="messages"></ol></div>
          <ol class="outgoing"></ol>
          <p class="typing"></p>
          <form class="composer">
            <label class="visually-hidden"></label>
            <textarea name="text" rows="1" maxlength="4000" enterkeyhint="send"></textarea>
            <button class="primary">Send</button>
            <p class="hint">Enter sends, Shift and Enter begin a new line.</p>
          </form>
        </div>
      </section>
    </template>`
}
