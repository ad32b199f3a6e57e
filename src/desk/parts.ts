import { setImmediate } from 'node:timers/promises'
import { html, raw } from 'hono/html'
import { lastFour } from '../card.ts'
import { grouped } from '../io/text.ts'
import { clockIn } from '../io/time.ts'
import { dollars, merchant as merchantName, probability, say } from '../notify/shown.ts'
import {
  type Case,
  type Counts,
  idOf,
  type Listed,
  seenOf,
  TABS,
  type Tab,
  type Verdict,
  verdictOf,
} from '../review/reviews.ts'
import type { Person } from './access.ts'
import { SHEET } from './style.ts'

export type Html = ReturnType<typeof html>
/** What a form carries, unseen. */
export type Fields = Record<string, string>
export const WORDS: Record<Verdict, string> = {
  fraud: 'fraud',
  legit: 'legitimate',
  unsure: 'unsure',
  withdrawn: 'taken back',
}
const CHOICES = { fraud: 'Fraud', legit: 'Legitimate', unsure: 'Unsure' }
const KEYS = 'f fraud, l legitimate, u unsure, z undo, j next, k previous, n note, / search, ? this list'

/** What of a page is long, some lines at a time: an alarm that is under way waits for no more than these. */
export async function each<T>(all: readonly T[], make: (one: T) => Html) {
  const made: Html[] = []
  for (const [i, one] of all.entries()) {
    if (i % AT_A_TIME === 0) await setImmediate()
    made.push(make(one))
  }
  return html`${made}`
}
const AT_A_TIME = 10

/** What pages are made of; times are those of the zone. */
export type Parts = ReturnType<typeof openParts>
export function openParts(zone: string) {
  const clock = clockIn(zone)
  const when = (at: number) => html`<time datetime="${new Date(at).toISOString()}">${clock(at)}</time>`
  const merchant = (p: Listed, most = 60) => merchantName(p, most)
  const score = (p: Listed) =>
    p.score === null
      ? ''
      : html`<meter aria-hidden="true" min="0" max="1" low="0.3" high="0.7" optimum="0" value="${p.score.toFixed(3)}">${probability(p.score)}</meter> ${probability(p.score)}`
  const judged = (p: Listed) => {
    const said = verdictOf(p)
    return said ? html`<b class="${said}">${WORDS[said]}</b>` : ''
  }
  /** Of the sample, and nobody has looked at it: what the model says is not to be known yet. */
  const isBlind = (p: Listed) => p.prediction === 0 && p.sampled !== null && verdictOf(p) === undefined
  const under = (p: Listed) =>
    html`<small>${when(p.event_time)} · ${say(p.category ?? '', 30)} · *${lastFour(p.cc_num)}</small>
      <small>${isBlind(p) ? '' : score(p)} ${p.prediction === 1 ? 'alarm' : ''} ${judged(p)}</small>`

  const layout = (
    title: string,
    body: Html | Html[],
    person?: Person,
    counts?: Counts,
    tab?: Tab,
  ) => html`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${title} · fraud desk</title><style>${raw(SHEET.style)}</style></head><body>
${
  person?.via === 'page'
    ? html`<nav aria-label="desk">${TABS.map((name) => html`<a href="/desk?tab=${name}"${name === tab ? raw(' aria-current="page"') : ''}>${name}${counts ? html` ${grouped(counts[name])}` : ''}</a>`)}
<a href="/desk/search" data-key="/">search</a> <a href="/desk/models">models</a>${person.lead ? html`<a href="/desk/labels">import</a>` : ''}</nav>`
    : ''
}
<main>${body}</main>
${person ? html`<details><summary data-key="?">Keys</summary><p>${KEYS}. Times are ${zone}. You are ${say(person.name, 60)}.</p></details>` : ''}
<script>${raw(SHEET.script)}</script></body></html>`

  const item = (p: Listed, link: string, before: Html | string = '') =>
    html`<li>${before}<div><a href="${link}"><b>${dollars(p.amt)}</b> ${merchant(p)}</a>${under(p)}</div></li>`
  const list = (found: readonly Listed[], of = (p: Listed) => `/desk/${idOf(p)}`) =>
    html`<ul>${each(found, (p) => item(p, of(p)))}</ul>`
  const hidden = (fields: Fields) =>
    Object.entries(fields).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`)
  const buttons = (keys = true) =>
    html`<div class="row">${Object.entries(CHOICES).map(([one, word]) => html`<button name="verdict" value="${one}" class="${one}"${keys ? raw(` data-key="${one[0]}"`) : ''}>${word}${keys ? html`<kbd>${one[0]}</kbd>` : ''}</button>`)}</div>`
  const undo = (found: Case, fields: Fields) =>
    html`<form method="post" action="/desk/${idOf(found.payment)}">${hidden({ ...fields, seen: seenOf(found), verdict: 'withdrawn' })}<button class="plain" data-key="z">Undo<kbd>z</kbd></button></form>`
  const told = (text: Html | string, more: Html | string = '') =>
    html`<div class="told" role="status"><span>${text}</span>${more}</div>`
  return { zone, judged, layout, when, merchant, score, isBlind, under, item, list, hidden, buttons, undo, told }
}
