import { createHash, createHmac } from 'node:crypto'
import { mark, type Notification, type Notifier, notificationKey } from '../alert/notifier.ts'
import { lastFour, maskCards, unlikeCard } from '../card.ts'
import { causeOf, HttpFailure, isBug, reason, SendFailure } from '../io/errors.ts'
import { isHtml, request } from '../io/http.ts'
import { orProxy, through } from '../io/proxy.ts'
import { oneLine } from '../io/text.ts'
import { iso } from '../io/time.ts'
import type { Prediction } from '../transaction.ts'
import { brief, dollars, merchantOf, probability } from './shown.ts'

/** ms until the whole answer must be there: less makes doubles */
const DEADLINE = 60_000
const MAX_ANSWER = 1024 * 1024
const MAX_FRAUDS = 2000
/** Discord refuses more. All three count code points, as it does (its staff in discord-api-docs, issue 1315). */
const MAX_CONTENT = 2000
const MAX_LINE = 500
const MAX_VALUE = 200

type Options = { url: URL; secret?: string | undefined; deadline?: number }

/**
 * Posts each notification as JSON: `text` for Slack and `content` for Discord say the same, cut to what Discord takes; the
 * other fields are for machines. The body follows from the notification alone, that of a single alarm from its fraud, and
 * `Idempotency-Key` from the body: a repeat is the same to the byte, and what has changed has another key. With a secret, `X-Signature` is the HMAC-SHA256 of the body in hex. Messages show the host
 * alone: the rest of such a URL is a password. Nobody is named in it: a channel has more readers than a mail.
 */
export function webhook({ url, secret, deadline = DEADLINE }: Options): Notifier {
  const { host } = url
  return {
    async send(notification, signal) {
      if (signal.aborted) throw new SendFailure(`stopped before it was posted to ${host}`, { scope: 'channel' })
      const content = contentOf(notification)
      const body = JSON.stringify(content)
      const headers = {
        'idempotency-key': unlikeCard(createHash('sha256').update(body).digest('hex').slice(0, 32)),
        ...(secret && { 'x-signature': createHmac('sha256', secret).update(body).digest('hex') }),
      }
      const answer = await request({ url, headers, body, deadline, maxAnswer: MAX_ANSWER, signal }).catch((error) => {
        if (signal.aborted) throw new SendFailure(`stopped while it was posted to ${host}`, UNKNOWN)
        throw isBug(error) ? error : unanswered(error, url)
      })
      const { status, text, retryAfter } = answer
      const why = SLACK_WORD.test(text) ? ` (${text})` : ''
      const [said, meaning] = failureOf(status, text) ?? []
      if (meaning)
        throw new SendFailure(`${host} answered ${status}${why}${orProxy(url)}${said}`, {
          ...meaning,
          retryAfter,
          code: `http_${status}`,
        })
      return { accepted: [host], rejected: [], deferred: [], said: `posted to ${host}: ${content.subject}` }
    },
    close() {},
  }
}

/** Slack's reason, e.g. `no_service`: all that is shown of an answer. */
const SLACK_WORD = /^[a-z]{2,20}(_[a-z]{2,20}){1,4}$/

type Meaning = Pick<SendFailure, 'scope'> & Partial<Pick<SendFailure, 'delivered'>>
const BLOCKED: Meaning = { scope: 'channel' }
const UNKNOWN: Meaning = { scope: 'either', delivered: 'maybe' }

function unanswered(error: unknown, url: URL): SendFailure {
  const where = `${url.host}${through(url)}`
  const code = causeOf(error)
  if (error instanceof HttpFailure && error.kind === 'refused')
    return new SendFailure(`cannot reach ${where}: ${reason(error)}`, { ...BLOCKED, code })
  return new SendFailure(`no answer from ${where}, it may arrive twice: ${reason(error)}`, { ...UNKNOWN, code })
}

/** What is wrong and whom it concerns; undefined when the notification has been taken. */
function failureOf(status: number, text: string): [string, Meaning] | undefined {
  if (status < 300) {
    if (isHtml(text)) return [' with a web page, so it is no webhook: check ALERT_WEBHOOK_URL', BLOCKED]
    const no = refusalIn(text.slice(0, MAX_REFUSAL))
    if (no === undefined) return undefined
    return [` and says that it did not take it${no}: check ALERT_WEBHOOK_URL`, { scope: 'either' }]
  }
  if (status < 400) return [', a redirect, not followed: ALERT_WEBHOOK_URL has moved', BLOCKED]
  if (status === 401 || status === 403)
    return [': check that ALERT_WEBHOOK_URL is whole and may still post, and ALERT_WEBHOOK_SECRET', BLOCKED]
  if (status === 404 || status === 405 || status === 410)
    return [': check that ALERT_WEBHOOK_URL is whole, and that its webhook and channel still exist', BLOCKED]
  if (status === 400 || status === 413 || status === 422)
    return [': it does not take this notification', { scope: 'message' }]
  if (status === 429) return [', its rate limit is reached', BLOCKED]
  return status >= 500 ? [', it may arrive twice', UNKNOWN] : ['', { scope: 'either' }]
}

/** characters of an answer with 200 that may say no all the same */
const MAX_REFUSAL = 4096
/**
 * What an answer says that is a refusal for all its 200: `ok` of Slack's and Telegram's methods, `errcode` of DingTalk and
 * WeCom, `code` of Lark, the sentence of Teams' connectors. undefined: it has been taken.
 */
function refusalIn(text: string): string | undefined {
  const teams = /endpoint returned HTTP error (\d{3})/.exec(text)
  if (teams) return ` (${teams[1]})`
  let said: Record<string, unknown>
  try {
    said = Object(JSON.parse(text))
  } catch {
    return undefined
  }
  const { ok, success, errcode = 0, code = 0, error } = said
  const number = [errcode, code].find((n) => typeof n === 'number' && n !== 0 && !(n >= 200 && n < 300))
  if (ok !== false && success !== false && number === undefined) return undefined
  const word = typeof error === 'string' && SLACK_WORD.test(error) ? error : number
  return word === undefined ? '' : ` (${word})`
}

function contentOf(notification: Notification) {
  const { notice } = notification
  const alone = notice ? undefined : notification.frauds.length === 1 ? notification.frauds[0] : undefined
  const frauds = notification.frauds.map(shown)
  const total = notification.frauds.reduce((sum, { amt }) => sum + amt, 0)
  const subject = cut(notice ? say(notice.subject) : subjectOf(frauds, total), MAX_VALUE)
  const said = notice?.lines.map((line) => say(line, MAX_LINE)) ?? []
  const lines = fitting(subject, [...said, ...frauds.map(lineOf)])
  return {
    text: lines.map(forSlack).join('\n'),
    mrkdwn: false,
    parse: 'none',
    unfurl_links: false,
    unfurl_media: false,
    content: lines.map(forDiscord).join('\n'),
    allowed_mentions: { parse: [] },
    id: notificationKey(notification),
    // One that was refused for certain is decided anew, at another time, and is the same alarm.
    at: new Date(alone?.predicted_at ?? notification.at).toISOString(),
    kind: notice ? 'notice' : alone ? 'alarm' : 'digest',
    subject,
    frauds: frauds.slice(0, MAX_FRAUDS),
  }
}

const say = (text: string, most = MAX_VALUE) => cut(maskCards(oneLine(text)), most)
/** What may be seen of a fraud. A card's number is in no text of it. */
function shown(p: Prediction) {
  const text = (value?: string | null) => (value ? say(value) : null)
  return {
    trans_num: say(p.trans_num),
    event_time: iso(p.event_time),
    trans_date_trans_time: p.trans_date_trans_time,
    amt: brief(p.amt),
    merchant: text(merchantOf(p)),
    category: text(p.category),
    card_last4: lastFour(p.cc_num),
    score: p.score === null ? null : (brief(p.score) as number),
    model: text(p.model),
  }
}
type Shown = ReturnType<typeof shown>

const what = ({ amt, merchant, category }: Shown) =>
  `${typeof amt === 'number' ? dollars(amt) : `$${amt}`} at ${merchant ?? 'unknown merchant'} (${category ?? 'unknown category'})`

function subjectOf(frauds: readonly Shown[], total: number): string {
  if (frauds.length === 1) return `${mark(frauds)}Fraud alert: ${what(frauds[0]!)}`
  return `${mark(frauds)}${frauds.length} fraud alerts, ${dollars(total)} in all`
}

function lineOf(fraud: Shown): string {
  const score = fraud.score === null ? '' : ` · score ${probability(fraud.score)}`
  return `${fraud.trans_date_trans_time} UTC · ${what(fraud)} · card ends in ${fraud.card_last4}${score} · ${fraud.trans_num}`
}

/** The subject, the lines that Discord takes, and how many there are more. */
function fitting(subject: string, lines: readonly string[]): string[] {
  let room = MAX_CONTENT - '\n… and 1000000 more'.length - length(forDiscord(subject))
  const fit = lines.findIndex((line) => {
    room -= 1 + length(forDiscord(line))
    return room < 0
  })
  return fit < 0 ? [subject, ...lines] : [subject, ...lines.slice(0, fit), `… and ${lines.length - fit} more`]
}

const length = (text: string) => [...text].length
const cut = (text: string, most: number) => (length(text) > most ? `${[...text].slice(0, most - 1).join('')}…` : text)
/** Slack gives `<…>` a meaning, servers like it `@…` too: the space without width ends a name before it begins. */
const forSlack = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('@', '@\u200b')
/** Nothing is Markdown, link, name or emoji to Discord; the colon in a time never is. */
const forDiscord = (text: string) => text.replace(/[\\*_~`|>#[\]()<@!]|:(?!\d)/g, '\\$&')
