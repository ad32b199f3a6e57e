import { html, raw } from 'hono/html'
import { lastFour } from '../card.ts'
import type { Why } from '../care/why.ts'
import { grouped, plural } from '../io/text.ts'
import { DAY, HOUR, span } from '../io/time.ts'
import { dollars, holderOf, kilometres, probability, say, sumOf } from '../notify/shown.ts'
import {
  type Case,
  type Counts,
  type History,
  idOf,
  isSetBySql,
  type Listed,
  type Past,
  type Payment,
  type Queued,
  seenBy,
  seenOf,
  type Tab,
  type Verdict,
  verdictOf,
} from '../review/reviews.ts'
import type { Person } from './access.ts'
import { each, type Fields, type Html, type Parts, WORDS } from './parts.ts'

export const message = ({ layout }: Parts, title: string, text: string, person?: Person) =>
  layout(title, html`<h1>${title}</h1><p>${text}</p>`, person)

type Queue = { tab: Tab; found: readonly Queued[]; counts: Counts; fields: Fields; notice: Html | string }
export function queuePage(parts: Parts, { tab, found, counts, fields, notice }: Queue, person: Person) {
  const { layout, item, hidden, buttons } = parts
  const rest = counts[tab] - found.length
  const title =
    tab === 'alarms'
      ? `${plural(counts.alarms, 'alarm')}, ${dollars(counts.sum)}`
      : `${grouped(counts[tab])} ${tab === 'audit' ? 'to audit' : tab}`
  const link = (id: string) => `/desk/${id}?tab=${tab}`
  const isBulk = tab !== 'unsure' && tab !== 'done'
  const box = (p: Queued, id: string) =>
    html`<input type="checkbox" name="of" value="${id}~${seenBy(p, p.said)}" aria-label="choose ${dollars(p.amt)}">`
  const line = (p: Queued) => {
    const id = idOf(p)
    return item(p, link(id), isBulk ? box(p, id) : '')
  }
  const rows = html`<form method="post" action="/desk/bulk">${hidden({ ...fields, tab })}
<ul>${each(found, line)}</ul>
${rest > 0 ? html`<p class="soft">${grouped(rest)} more ${isBulk ? 'come when these are done' : 'are found by search'}.</p>` : ''}
${found.length > 0 && fields.key ? html`<div class="say"><small>Those that are chosen are</small>${buttons(false)}</div>` : ''}</form>`
  const first = found[0]
    ? html`<p><a href="${link(idOf(found[0]))}" data-key="j">Begin with the first</a></p>`
    : html`<p>Nothing is left here.</p>`
  return layout(title, html`${notice}<h1>${title}</h1>${first}${rows}`, person, counts, tab)
}

type Bulk = { verdict: Verdict; found: readonly Listed[]; fields: Fields; of: readonly string[] }
export function bulkPage({ layout, hidden, list }: Parts, { verdict, found, fields, of }: Bulk, person: Person) {
  const question = `${sumOf(found)}: ${WORDS[verdict]}?`
  return layout(
    question,
    html`<h1>${question}</h1><form method="post" action="/desk/bulk">${hidden({ ...fields, verdict, sure: 'yes' })}
${of.map((one) => hidden({ of: one }))}<div class="row"><a class="button" href="/desk?tab=${fields.tab}">No</a>
<button class="${verdict}">Yes, ${WORDS[verdict]}</button></div></form>${list(found)}`,
    person,
  )
}

type Shown = Case &
  History & {
    why?: Why | undefined
    fields: Fields
    notice?: Html | string
    next?: string
    previous?: string
    name?: string
  }
export function paymentPage(parts: Parts, shown: Shown, person: Person) {
  const { layout, merchant, hidden, buttons } = parts
  const { payment: p, fields, notice = '', next, previous, name = '', before } = shown
  const way = (id: string, key: string, word: string) =>
    html`<a href="/desk/${id}?tab=${fields.tab}" data-key="${key}">${word}</a> `
  return layout(
    `${dollars(p.amt)} at ${merchant(p)}`,
    html`${notice}<h1>${dollars(p.amt)}</h1><p class="big">${merchant(p, 200)}</p>
${state(parts, shown, person)}
<dl>${factsOf(parts, p).map(([title, value]) => html`<dt>${title}</dt><dd>${value}</dd>`)}</dl>
${shown.why ? whyOf(shown.why, p) : ''}<h2>Usual for this card</h2><p>${usual(p, before)}</p>
<form method="post" action="/desk/${idOf(p)}" class="say">${hidden({ ...fields, seen: seenOf(shown) })}
${person.via === 'link' ? html`<label>Your name<input name="name" required maxlength="60" autocomplete="name" value="${name}"></label>` : ''}
<label>Note<textarea name="note" maxlength="1000" rows="1" data-key="n"></textarea></label>
${buttons()}</form>
<p>${previous ? way(previous, 'k', 'Previous') : ''}${next ? way(next, 'j', 'Next') : ''}</p>
${past(parts, shown, person)}`,
    person,
  )
}

/** What was said of it last, or what it is here for. */
function state(
  { told, undo, isBlind, judged }: Parts,
  { fields, ...found }: Case & { fields: Fields },
  person: Person,
) {
  const { payment, trail } = found
  const mine = trail.at(-1)?.reviewer === person.name && !isSetBySql(found)
  if (verdictOf(payment))
    return told(
      html`${judged(payment)}, says ${say(payment.reviewed_by ?? 'somebody', 80)}`,
      mine ? undo(found, fields) : '',
    )
  if (!isBlind(payment)) return ''
  return told('Drawn to be looked at, whatever a model says: what does it look like to you?')
}

function factsOf({ when, score, isBlind, zone }: Parts, p: Payment): (readonly [string, Html | string])[] {
  const blind = isBlind(p)
  const distance = kilometres(p)
  const says = p.prediction === 1 ? 'takes it for fraud' : 'takes it for legitimate'
  const facts = [
    ['When', html`${when(p.event_time)} ${zone}`],
    ['Category', say(p.category ?? '')],
    ['Where', distance === null ? '' : `${grouped(distance)} km from the card holder's home`],
    ['Card', `ends in ${lastFour(p.cc_num)}`],
    ['Card holder', say(holderOf(p))],
    ['Score', blind ? '' : p.score === null ? 'none: the model gives no probability' : score(p)],
    ['Model', blind ? '' : `${say(p.model ?? 'without a name', 60)} ${says}`],
    ['Transaction', say(p.trans_num)],
  ] as const
  return facts.filter(([, value]) => value !== '')
}

/** By how much each part of the payment raises the answer, or lowers it. */
function whyOf({ base, score, parts }: Why, p: Payment) {
  const points = (value: number) => `${value < 0 ? '−' : '+'}${Math.abs(100 * value).toFixed(1)}`
  return html`<h2>Why</h2><dl>${parts.map(
    ({ group, value }) =>
      html`<dt>${group}</dt><dd><b class="${value > 0 ? 'fraud' : 'legit'}">${points(value)}</b></dd>`,
  )}</dl><p class="soft">How the answer of ${say(p.model ?? 'the model', 60)} changes, in points of 100, from ${probability(base)} for other
payments to ${probability(score)} for this one; not the cause.</p>`
}

function past({ when, merchant, under, item }: Parts, { last, ...found }: Case & History, person: Person) {
  const { payment, trail } = found
  const here = idOf(payment)
  const line = (p: Listed) =>
    person.via === 'page' && idOf(p) !== here
      ? item(p, `/desk/${idOf(p)}`)
      : html`<li${idOf(p) === here ? raw(' class="this"') : ''}><div><span><b>${dollars(p.amt)}</b> ${merchant(p)}</span>${under(p)}</div></li>`
  const said = verdictOf(payment)
  const outside = isSetBySql(found) ? html`<li>Set outside the desk: ${said ? WORDS[said] : 'open again'}</li>` : ''
  const spoken = trail.map(
    ({ verdict, reviewer, at, via, note }) =>
      html`<li><div><span><b class="${verdict}">${WORDS[verdict]}</b>, ${say(reviewer, 80)}, ${at > 0 ? when(at) : 'at a time that nobody knows'} (${say(via, 20)})</span>
${note ? html`<span>${say(note, 1000)}</span>` : ''}</div></li>`,
  )
  return html`<h2>Its last payments</h2><ul>${each(last, line)}</ul>
${spoken.length > 0 || outside ? html`<h2>What was said</h2><ul>${spoken}${outside}</ul>` : ''}`
}

/** Somebody has said something else meanwhile. */
type Stale = { stale: Case; verdict: Verdict; note: string; fields: Fields; back: string }
export function stalePage(
  { layout, told, hidden, judged }: Parts,
  { stale, verdict, note, fields, back }: Stale,
  person: Person,
) {
  const { payment, trail } = stale
  const theirs = verdictOf(payment) ? judged(payment) : html`<b>open again</b>`
  const who = say(payment.reviewed_by ?? trail.at(-1)?.reviewer ?? 'somebody', 80)
  const what = html`Meanwhile it is ${theirs}, says ${who}. You said <b class="${verdict}">${WORDS[verdict]}</b>, which does not count yet.`
  return layout(
    'Somebody was faster',
    html`<h1>Somebody was faster</h1>${told(what)}
<form method="post" action="/desk/${idOf(payment)}">${hidden({ ...fields, seen: seenOf(stale), verdict, note })}
<div class="row"><a class="button" href="/desk/${idOf(payment)}${back}">Keep that</a><button class="${verdict}">Make it ${WORDS[verdict]}</button></div></form>`,
    person,
  )
}

/** What has just been said, and the way back. */
export function doneNotice({ told, undo, merchant, judged }: Parts, found: Case, fields: Fields) {
  const { payment } = found
  if (!verdictOf(payment)) return ''
  return told(html`${dollars(payment.amt)} at ${merchant(payment)}: ${judged(payment)}`, undo(found, fields))
}

export const searchPage = (
  { layout, list }: Parts,
  words: string,
  found: readonly Listed[] | undefined,
  person: Person,
) =>
  layout(
    'Search',
    html`<h1>Search</h1><form action="/desk/search" class="row"><input name="q" value="${say(words)}" data-key="/"
aria-label="last four digits, transaction, or merchant" placeholder="last four digits, transaction, merchant" maxlength="200"><button>Search</button></form>
${found === undefined ? '' : found.length === 0 ? html`<p>Nothing is found.</p>` : list(found)}`,
    person,
  )

export const loginPage = ({ layout, told }: Parts, wrong: string, passwords: boolean) =>
  layout(
    'Who are you?',
    html`<h1>Who are you?</h1>${wrong ? told(wrong) : ''}<form method="post" action="/desk/login">
<label>Name<input name="name" required maxlength="60" autocomplete="username"></label>
<label>${passwords ? 'Password' : 'Token'}<input name="password" type="password" required autocomplete="current-password"></label>
<button>Enter</button></form>`,
  )

export const labelsPage = ({ layout, hidden }: Parts, fields: Fields, lines: readonly string[], person: Person) =>
  layout(
    'Import verdicts',
    html`<h1>Import verdicts</h1><ul>${lines.map((line) => html`<li>${say(line, 300)}</li>`)}</ul>
<form method="post" action="/desk/labels">${hidden(fields)}<label>CSV: trans_num, verdict, and perhaps at, event_time, note
<textarea name="csv" rows="10" required></textarea></label><button>Import</button></form>`,
    person,
  )

/** For the front page of the server. */
export const recentRows = ({ when, merchant, score, judged, isBlind }: Parts, found: readonly Listed[]) =>
  html`${found.map(
    (p) => html`<li>${when(p.event_time)}<span><a href="/desk/${idOf(p)}">${dollars(p.amt)}</a> ${merchant(p)}</span>
<span>${isBlind(p) ? '' : score(p)}</span><span>${p.prediction === 1 ? html`<b class="bad">alarm</b>` : ''} ${judged(p)}</span></li>`,
  )}`

/** What this card has done before, in a sentence. */
export function usual(p: Payment, before: readonly Past[]): string {
  if (before.length === 0) return 'It has paid nothing before that is recorded here.'
  const amounts = before.map(({ amt }) => amt).toSorted((a, b) => a - b)
  const within = (ms: number) => before.filter(({ event_time }) => event_time > p.event_time - ms).length
  const half = amounts.length / 2
  const median = (amounts[Math.ceil(half) - 1]! + amounts[Math.floor(half)]!) / 2
  const way = kilometres({ ...p, lat: before[0]!.merch_lat, long: before[0]!.merch_long })
  return [
    `Median ${dollars(median)}, largest ${dollars(amounts.at(-1)!)} of ${plural(before.length, 'payment')}`,
    `${within(HOUR)} in the hour before, ${within(DAY)} in the day`,
    `the last ${span(p.event_time - before[0]!.event_time)} before${way === null ? '' : `, ${grouped(way)} km away`}.`,
  ].join('; ')
}
