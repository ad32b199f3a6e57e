import { createHash, createHmac } from 'node:crypto'
import dns from 'node:dns'
import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { expect, test, vi } from 'vitest'
import { type Notification, notificationKey } from '../../src/alert/notifier.ts'
import { SendFailure } from '../../src/io/errors.ts'
import { webhook } from '../../src/notify/webhook.ts'
import type { Prediction } from '../../src/transaction.ts'
import { freePort, httpServer, LONG_CARD, NOTHING, prediction } from '../rows.ts'

const AT = Date.UTC(2026, 0, 2, 3, 5)
const PATH = '/services/T0HIDDEN/B0HIDDEN/xyzzy?token=hush'
const never = new AbortController().signal

const fraud = (n = 7, changes: Partial<Prediction> = {}) =>
  prediction(n, { prediction: 1, score: 0.987, cc_num: LONG_CARD, ...changes })
const notification = (
  frauds: readonly Prediction[] = [fraud()],
  changes: Partial<Notification> = {},
): Notification => ({
  at: AT,
  frauds,
  ...changes,
})
const many = (count: number, changes: Partial<Prediction> = {}) =>
  Array.from({ length: count }, (_, n) => fraud(n, changes))

type Answer = { status?: number; text?: string; headers?: Record<string, string> }
type Answering = Answer | ((response: ServerResponse) => unknown)

/** A webhook on a real server that answers so, and what it was sent. */
async function hook(answering: Answering = {}, options: { secret?: string; deadline?: number } = {}) {
  const server = await httpServer((_received, response) => {
    if (typeof answering === 'function') return answering(response)
    response.writeHead(answering.status ?? 200, { 'content-type': 'text/html', ...answering.headers })
    response.end(answering.text ?? 'ok')
  })
  const url = new URL(PATH, server.url)
  const notifier = webhook({ url, ...options })
  return {
    ...server,
    host: server.url.host,
    send: (sent: Notification = notification(), signal = never) => notifier.send(sent, signal),
    close: notifier.close,
  }
}

type Body = {
  text: string
  content: string
  subject: string
  frauds: Record<string, unknown>[]
  [field: string]: unknown
}
/** What a notification looks like at the other side. */
async function posted(sent: Notification): Promise<Body & { raw: string; headers: IncomingHttpHeaders }> {
  await using h = await hook()
  await h.send(sent)
  const { text: raw, request } = h.received[0]!
  return { ...(JSON.parse(raw) as Body), raw, headers: request.headers }
}

/** How sending fails; nothing secret is in the error, however deep one looks. */
async function failure(sending: Promise<unknown>): Promise<SendFailure> {
  const error = await sending.then(
    () => expect.unreachable('it should have failed'),
    (thrown) => thrown,
  )
  expect(error).toBeInstanceOf(SendFailure)
  expect(inspect(error, { depth: 20, showHidden: true }).replace(/\n +at .*/g, '')).not.toMatch(
    /HIDDEN|services|xyzzy|hush|\d{11}|Kutch|marker/,
  )
  return error as SendFailure
}
const meaningOf = ({ scope, delivered, retryAfter }: SendFailure) => ({ scope, delivered, retryAfter })
const BLOCKED = { scope: 'channel', delivered: 'no', retryAfter: 0 }
const UNKNOWN = { scope: 'either', delivered: 'maybe', retryAfter: 0 }

test('posts a notification as JSON to the whole URL, and says to which host', async () => {
  await using h = await hook()
  expect((await h.send()).said).toMatch(new RegExp(`^posted to ${h.host}: Fraud alert: \\$`))
  const [{ request, text }, ...more] = h.received as [(typeof h.received)[0]]
  expect(more).toEqual([])
  expect([request.method, request.url]).toEqual(['POST', PATH])
  expect(request.headers).toMatchObject({
    'content-type': 'application/json',
    'idempotency-key': createHash('sha256').update(text).digest('hex').slice(0, 32),
    'content-length': String(Buffer.byteLength(text)),
  })
  expect(request.headers['x-signature']).toBeUndefined()
  h.close()
})

test.for([200, 201, 202, 204])('takes %d for taken over', async (status) => {
  await using h = await hook({ status, text: '' })
  expect((await h.send()).said).toMatch(new RegExp(`^posted to ${h.host}: Fraud alert: \\$`))
})

test('says all of a single alarm: for Slack, for Discord and for machines', async () => {
  const { headers: _, raw: __, ...body } = await posted(notification())
  expect(body).toEqual({
    text:
      'Fraud alert: $17.00 at Kutch, Hermiston and Farrell (gas_transport)\n' +
      '2026-01-02 03:04:12 UTC · $17.00 at Kutch, Hermiston and Farrell (gas_transport) · card ends in 4184 · score 98.7 % · trans-7',
    mrkdwn: false,
    parse: 'none',
    unfurl_links: false,
    unfurl_media: false,
    content:
      'Fraud alert\\: $17.00 at Kutch, Hermiston and Farrell \\(gas\\_transport\\)\n' +
      '2026-01-02 03:04:12 UTC · $17.00 at Kutch, Hermiston and Farrell \\(gas\\_transport\\) · card ends in 4184 · score 98.7 % · trans-7',
    allowed_mentions: { parse: [] },
    id: notificationKey(notification()),
    at: '2026-01-02T03:04:13.578Z',
    kind: 'alarm',
    subject: 'Fraud alert: $17.00 at Kutch, Hermiston and Farrell (gas_transport)',
    frauds: [
      {
        trans_num: 'trans-7',
        event_time: '2026-01-02T03:04:12.678Z',
        trans_date_trans_time: '2026-01-02 03:04:12',
        amt: 17,
        merchant: 'Kutch, Hermiston and Farrell',
        category: 'gas_transport',
        card_last4: '4184',
        score: 0.987,
        model: 'rf/7',
      },
    ],
  })
})

test('says what several frauds come to, a line for each', async () => {
  const { text, kind, subject, frauds } = await posted(notification(many(3, { amt: 1234.5 })))
  expect(kind).toBe('digest')
  expect(subject).toBe('3 fraud alerts, $3,703.50 in all')
  expect(text.split('\n').map((line) => line.slice(0, 40))).toEqual([
    subject,
    '2026-01-02 03:04:05 UTC · $1,234.50 at K',
    '2026-01-02 03:04:06 UTC · $1,234.50 at K',
    '2026-01-02 03:04:07 UTC · $1,234.50 at K',
  ])
  expect(frauds.map(({ trans_num }) => trans_num)).toEqual(['trans-0', 'trans-1', 'trans-2'])
})

test('says a notice before the frauds in the notification, or instead of any', async () => {
  const notice = { subject: 'The model looks broken', lines: ['187 of the last 200', 'are flagged'] }
  const alone = await posted(notification([], { notice }))
  expect(alone).toMatchObject({ kind: 'notice', subject: notice.subject, frauds: [] })
  expect(alone.text).toBe('The model looks broken\n187 of the last 200\nare flagged')
  const both = await posted(notification([fraud()], { notice }))
  expect(both.kind).toBe('notice')
  expect(both.text.split('\n')).toHaveLength(4)
  expect(both.text.startsWith(alone.text)).toBe(true)
})

test('marks what is simulated', async () => {
  expect((await posted(notification([fraud(7, { model: 'simulated' })]))).subject).toMatch(
    /^\[simulated\] Fraud alert: /,
  )
  expect((await posted(notification([...many(2), fraud(9, { model: 'simulated' })]))).subject).toMatch(
    /^\[simulated\] 3 /,
  )
})

test('goes without what the producer and the model left out', async () => {
  const { text, frauds } = await posted(notification([fraud(7, NOTHING)]))
  expect(text.split('\n')[1]).toBe(
    '2026-01-02 03:04:12 UTC · $17.00 at unknown merchant (unknown category) · card ends in 4184 · trans-7',
  )
  expect(frauds[0]).toMatchObject({ merchant: null, category: null, score: null, model: null })
})

test('is the same to the byte when it is sent again, later, by another process', async () => {
  const sent = notification(many(30))
  const first = await posted(sent)
  await sleep(20)
  const second = await posted(structuredClone(sent))
  expect(second.raw).toBe(first.raw)
  expect(second.headers['idempotency-key']).toBe(first.headers['idempotency-key'])
})

test('a single alarm that was refused and is decided anew is the same to the byte', async () => {
  const first = await posted(notification())
  const second = await posted(
    notification([fraud()], { at: AT + 600_000, under: notificationKey(notification(many(2))) }),
  )
  expect(second.raw).toBe(first.raw)
  expect(second.headers['idempotency-key']).toBe(first.headers['idempotency-key'])
})

test.for<[what: string, changed: Notification]>([
  ['another time', notification(many(2), { at: AT + 1 })],
  ['one fraud more', notification(many(3))],
  ['another order', notification(many(2).toReversed())],
  ['another amount', notification([fraud(0, { amt: 1 }), fraud(1)])],
  ['another model', notification(many(2, { model: 'rf/8' }))],
  ['a notice', notification(many(2), { notice: { subject: 's', lines: ['a'] } })],
])('%s is another key', async ([, changed]) => {
  const [{ raw, headers }, other] = [await posted(notification(many(2))), await posted(changed)]
  expect(other.raw).not.toBe(raw)
  expect(other.headers['idempotency-key']).not.toBe(headers['idempotency-key'])
})

test('signs the bytes of the body', async () => {
  await using h = await hook({}, { secret: 'Schlüssel' })
  await h.send(notification([fraud(7, { merchant: 'fraud_Süß & 日本 🥨' })]))
  const { request, text } = h.received[0]!
  expect(text).toContain('Süß')
  const expected = createHmac('sha256', 'Schlüssel').update(Buffer.from(text, 'utf8')).digest('hex')
  expect(request.headers['x-signature']).toBe(expected)
  expect(expected).toMatch(/^[\da-f]{64}$/)
})

const points = (text: string) => [...text].length

test.for<[what: string, merchant: string]>([
  ['plain names', 'fraud_Kutch'],
  ['emoji, which are one character to Discord', `fraud_${'🥨'.repeat(60)}`],
  ['characters that are doubled', `fraud_${'*_'.repeat(300)}`],
  ['very long ones', `fraud_${'x'.repeat(100_000)}`],
])('is cut to 2,000 characters and says how many frauds are missing: %s', async ([, merchant]) => {
  const { content, text, frauds } = await posted(notification(many(60, { merchant, category: merchant })))
  const lines = content.split('\n')
  expect(points(content)).toBeLessThanOrEqual(2000)
  expect(lines.length).toBeGreaterThan(2)
  expect(lines.at(-1)).toBe(`… and ${60 - (lines.length - 2)} more`)
  expect(text.split('\n')).toHaveLength(lines.length)
  expect(text.split('\n').at(-1)).toBe(lines.at(-1))
  const longest = Math.max(...lines.slice(1, -1).map(points))
  expect(points(content) + longest + 1).toBeGreaterThan(1980 - 20) // no line fewer than fits
  expect(frauds).toHaveLength(60)
})

test('shows all lines when they fit, with nothing more', async () => {
  const { content } = await posted(notification(many(5)))
  expect(content.split('\n')).toHaveLength(6)
  expect(content).not.toContain('more')
})

test('cuts a notice, too', async () => {
  const notice = { subject: 's'.repeat(5000), lines: ['l'.repeat(5000), ...Array(300).fill('a line')] }
  const { content, subject } = await posted(notification([], { notice }))
  expect(points(content)).toBeLessThanOrEqual(2000)
  expect(points(subject)).toBe(200)
  expect(content.split('\n')[1]).toBe(`${'l'.repeat(499)}…`)
  expect(content).toMatch(/… and \d+ more$/)
  const doubled = await posted(notification([], { notice: { subject: '*'.repeat(200), lines: Array(1000).fill('*') } }))
  expect(points(doubled.content)).toBeLessThanOrEqual(2000)
})

test('cuts between characters', async () => {
  const { frauds } = await posted(notification([fraud(7, { merchant: `fraud_x${'🥨'.repeat(300)}` })]))
  expect(frauds[0]!.merchant).toBe(`x${'🥨'.repeat(198)}…`)
})

test('names at most 2,000 frauds, of sizes that stay bounded', async () => {
  const { frauds, subject, raw } = await posted(notification(many(2001, { merchant: 'x'.repeat(10_000) })))
  expect(frauds).toHaveLength(2000)
  expect(subject).toMatch(/^2001 fraud alerts/)
  expect(raw.length).toBeLessThan(2_000_000)
})

const CARD = String(LONG_CARD)
test.for([
  CARD,
  CARD.replace(/(.{4})(?=.)/g, '$1 '),
  CARD.replace(/(.{4})(?=.)/g, '$1-'),
  [...CARD].join('.'),
  [...CARD].join('\u200b'),
])('never shows the card number, not even where another text repeats it: %s', async (number) => {
  const text = `fraud_Pay ${number} now`
  const notice = { subject: `about ${CARD}`, lines: [`see ${CARD.replace(/(.{4})(?=.)/g, '$1 ')}`] }
  const frauds = [fraud(1, { merchant: text, category: text, model: text, trans_num: text, first: text, street: text })]
  for (const sent of [notification(frauds), notification(frauds, { notice }), notification([...frauds, ...many(2)])]) {
    const { raw } = await posted(sent)
    expect(raw.replace(/[^\da-z]/gi, '').replaceAll('u200b', '')).not.toContain(CARD)
    expect(raw).toContain('4184')
  }
  const { frauds: shown } = await posted(notification(frauds))
  expect(shown[0]).toMatchObject({ trans_num: 'fraud_Pay …4184 now', model: 'fraud_Pay …4184 now' })
})

test("another card's number is no more shown than one's own", async () => {
  const { raw, frauds } = await posted(
    notification([
      fraud(7, {
        merchant: 'M 4000123412341234',
        category: 'C 4000 1234 1234 1234',
        trans_num: 'no4000123412341234',
        model: 'rf/２７０３１８６１８９６５２０９５',
      }),
    ]),
  )
  expect(raw.replaceAll(' ', '')).not.toContain('4000123412341234')
  expect(frauds[0]).toMatchObject({ merchant: 'M …1234', trans_num: 'no…1234', model: 'rf/…2095' })
})

test('names no card holder', async () => {
  const { raw } = await posted(notification(many(3)))
  expect(raw).not.toMatch(/Ada|O'Neil|Main Street|Springfield|62701|1980-02-29|Engineer/)
})

test('a merchant can call nobody', async () => {
  const merchant = 'fraud_@everyone <!channel> <@U024BE7LR> @here <@&123> <#C1|general> & co'
  const { text, content, allowed_mentions } = await posted(notification([fraud(7, { merchant })]))
  expect(text).not.toMatch(/[<>]|@\w|&(?!amp;|lt;|gt;)/)
  expect(text).toContain('&lt;!channel&gt; &lt;@\u200bU024BE7LR&gt;')
  expect(text).toContain('&lt;#C1|general&gt; &amp; co')
  expect(content).toContain('\\@everyone \\<\\!channel\\> \\<\\@U024BE7LR\\>')
  expect(allowed_mentions).toEqual({ parse: [] })
})

test('a merchant cannot write Markdown, links, or lines of its own', async () => {
  const merchant =
    'fraud_*a* _b_ ~~c~~ `d` ||e|| [bank](https://evil.example) :white_check_mark: \\* \n# All clear\r\n> x\u2028y \u202egnp \u0000'
  const { text, content, mrkdwn, parse } = await posted(notification([fraud(7, { merchant })]))
  expect([mrkdwn, parse]).toEqual([false, 'none'])
  expect(text.split('\n')).toHaveLength(2)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what must not be there
  expect(text + content).not.toMatch(/[\u202e\u2028\u0000\r]/)
  expect(content.split('\n')).toHaveLength(2)
  expect(content.replace(/\\[^a-z\d\s]/gi, '')).not.toMatch(/[\\*_~`|>#[\]()<@]|:\D/)
  expect(content).toContain('\\[bank\\]\\(https\\://evil.example\\) \\:white\\_check\\_mark\\:')
  expect(content.replace(/\\([^a-z\d\s])/gi, '$1')).toContain('~~c~~ `d` ||e|| [bank](https://evil.example)')
})

test('a lone half of a character does not spoil the JSON', async () => {
  const { raw, frauds } = await posted(notification([fraud(7, { merchant: 'fraud_a\ud83e' })]))
  expect(raw).not.toContain('\\ud83e')
  expect(frauds[0]!.merchant).toBe('a\ufffd')
})

test.for<[what: string, answer: Answer, message: string, meaning: Partial<typeof BLOCKED>]>([
  [
    '400',
    { status: 400, text: 'invalid_payload' },
    'answered 400 (invalid_payload): it does not take this notification',
    { scope: 'message' },
  ],
  ['413', { status: 413 }, 'answered 413: it does not take this notification', { scope: 'message' }],
  ['422', { status: 422 }, 'answered 422: it does not take this notification', { scope: 'message' }],
  [
    '401',
    { status: 401 },
    'answered 401: check that ALERT_WEBHOOK_URL is whole and may still post, and ALERT_WEBHOOK_SECRET',
    {},
  ],
  [
    '403',
    { status: 403, text: 'action_prohibited' },
    'answered 403 (action_prohibited): check that ALERT_WEBHOOK_URL is whole and may still post, and ALERT_WEBHOOK_SECRET',
    {},
  ],
  [
    '404',
    { status: 404, text: 'no_service' },
    'answered 404 (no_service): check that ALERT_WEBHOOK_URL is whole, and that its webhook and channel still exist',
    {},
  ],
  [
    '405',
    { status: 405 },
    'answered 405: check that ALERT_WEBHOOK_URL is whole, and that its webhook and channel still exist',
    {},
  ],
  [
    '410',
    { status: 410, text: 'channel_is_archived' },
    'answered 410 (channel_is_archived): check that ALERT_WEBHOOK_URL is whole, and that its webhook and channel still exist',
    {},
  ],
  [
    '429',
    { status: 429, headers: { 'retry-after': '30' } },
    'answered 429, its rate limit is reached',
    { retryAfter: 30_000 },
  ],
  ['429 without Retry-After', { status: 429 }, 'answered 429, its rate limit is reached', {}],
  ['500', { status: 500, text: 'rollup_error' }, 'answered 500 (rollup_error), it may arrive twice', UNKNOWN],
  ['502', { status: 502, text: '<html><title>marker</title>' }, 'answered 502, it may arrive twice', UNKNOWN],
  [
    '503 with Retry-After',
    { status: 503, headers: { 'retry-after': '7' } },
    'answered 503, it may arrive twice',
    { ...UNKNOWN, retryAfter: 7000 },
  ],
  ['409', { status: 409 }, 'answered 409', { scope: 'either' }],
  [
    'a redirect',
    { status: 302, headers: { location: '/marker' } },
    'answered 302, a redirect, not followed: ALERT_WEBHOOK_URL has moved',
    {},
  ],
  [
    'a permanent redirect',
    { status: 308, headers: { location: '/marker' } },
    'answered 308, a redirect, not followed: ALERT_WEBHOOK_URL has moved',
    {},
  ],
  [
    'a web page',
    { text: '<!doctype html><title>marker</title>' },
    'answered 200 with a web page, so it is no webhook: check ALERT_WEBHOOK_URL',
    {},
  ],
])('fails on %s', async ([, answer, message, meaning]) => {
  await using h = await hook({ text: 'marker: {"merchant":"fraud_Kutch"}', ...answer })
  const error = await failure(h.send())
  expect(error.message).toBe(`${h.host} ${message}`)
  expect(meaningOf(error)).toEqual({ ...BLOCKED, ...meaning })
  expect(h.received).toHaveLength(1)
})

test.for([
  'ok',
  '',
  '1',
  'null',
  '{"ok":true,"code":0}',
  '{"code":200,"errcode":0}',
  '{"id":"1","code":"x"}',
  '{"ok":',
  '[false]',
])('takes a 200 that says %s for a yes', async (text) => {
  await using h = await hook({ text })
  await h.send()
  expect(h.received).toHaveLength(1)
})

test('no answer in time: nobody knows whether it has arrived', async () => {
  await using h = await hook(() => {}, { deadline: 200 })
  const error = await failure(h.send())
  expect(error.message).toBe(`no answer from ${h.host}, it may arrive twice: no whole answer within 0.2 s`)
  expect(meaningOf(error)).toEqual(UNKNOWN)
})

test('an answer that drips has the same deadline', async () => {
  const drip = (response: ServerResponse) => {
    response.writeHead(200)
    const timer = setInterval(() => response.write('.'), 20)
    response.on('close', () => clearInterval(timer))
  }
  await using h = await hook(drip, { deadline: 200 })
  expect(meaningOf(await failure(h.send()))).toEqual(UNKNOWN)
})

test.for<[what: string, answering: (response: ServerResponse) => unknown]>([
  ['is closed without an answer', (response) => response.destroy()],
  ['is reset', (response) => response.socket?.resetAndDestroy()],
  [
    'breaks off in the middle of the answer',
    (response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('o', () => response.destroy())
    },
  ],
  ['brings more than 1 MiB', (response) => response.end('x'.repeat(2 ** 20 + 1))],
])('a connection that %s: nobody knows whether it has arrived', async ([, answering]) => {
  await using h = await hook(answering)
  const error = await failure(h.send())
  expect(error.message).toMatch(/^no answer from 127\.0\.0\.1:\d+, it may arrive twice: ./)
  expect(meaningOf(error)).toEqual(UNKNOWN)
})

test('cannot have arrived where nobody listens', async () => {
  const url = new URL(PATH, `http://127.0.0.1:${await freePort()}`)
  const error = await failure(webhook({ url }).send(notification(), never))
  expect(error.message).toBe(`cannot reach ${url.host}: connect ECONNREFUSED ${url.host}`)
  expect(meaningOf(error)).toEqual(BLOCKED)
})

type Found = (error: Error | null, addresses?: { address: string; family: number }[]) => void
/** A name server that answers so. */
function nameServer(answer: (found: Found) => void) {
  const spy = vi
    .spyOn(dns, 'lookup')
    .mockImplementation(((_name: string, _options: object, found: Found) => answer(found)) as never)
  return { [Symbol.dispose]: () => spy.mockRestore() }
}

test('cannot have arrived where nobody listens at any of several addresses', async () => {
  using _ = nameServer((found) =>
    found(
      null,
      ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 })),
    ),
  )
  const url = new URL(PATH, `http://several.test:${await freePort()}`)
  const error = await failure(webhook({ url }).send(notification(), never))
  expect(error.message).toMatch(/^cannot reach several\.test:\d+: connect ECONNREFUSED /)
  expect(meaningOf(error)).toEqual(BLOCKED)
})

test('cannot have arrived where the host has no address', async () => {
  using _ = nameServer((found) => found(new Error('getaddrinfo ENOTFOUND nowhere.test')))
  const error = await failure(webhook({ url: new URL(PATH, 'http://nowhere.test') }).send(notification(), never))
  expect(error.message).toBe('cannot reach nowhere.test: getaddrinfo ENOTFOUND nowhere.test')
  expect(meaningOf(error)).toEqual(BLOCKED)
})

test('cannot have arrived where TLS fails', async () => {
  await using h = await hook()
  const url = new URL(PATH, h.url.href.replace('http:', 'https:'))
  const error = await failure(webhook({ url }).send(notification(), never))
  expect(error.message).toMatch(/^cannot reach 127\.0\.0\.1:\d+: ./)
  expect(meaningOf(error)).toEqual(BLOCKED)
})

test('an aborted signal cuts it short', async () => {
  const stop = new AbortController()
  await using h = await hook(() => stop.abort(new Error('stopped')))
  const began = performance.now()
  const error = await failure(h.send(notification(), stop.signal))
  expect(performance.now() - began).toBeLessThan(2000)
  expect(error.message).toBe(`stopped while it was posted to ${h.host}`)
  expect(meaningOf(error)).toEqual({ scope: 'either', delivered: 'maybe', retryAfter: 0 })
})

test('posts nothing once the signal is aborted', async () => {
  await using h = await hook()
  const error = await failure(h.send(notification(), AbortSignal.abort()))
  expect(error.message).toBe(`stopped before it was posted to ${h.host}`)
  expect(error.delivered).toBe('no')
  expect(h.received).toEqual([])
})

test('a password in the URL is used and not shown', async () => {
  await using h = await hook({ status: 404 })
  const url = new URL(PATH, h.url)
  url.username = 'user'
  url.password = 'hush'
  const error = await failure(webhook({ url }).send(notification(), never))
  expect(error.message).toContain(`${h.host} answered 404`)
  expect(h.received[0]!.request.headers.authorization).toBe(`Basic ${btoa('user:hush')}`)
})

test('several notifications at once do not disturb each other', async () => {
  await using h = await hook()
  const notifications = many(20).map((one) => notification([one]))
  await Promise.all(notifications.map((one) => h.send(one)))
  const ids = h.received.map(({ text }) => (JSON.parse(text) as Body).id)
  expect(ids.sort()).toEqual(notifications.map(notificationKey).sort())
})
