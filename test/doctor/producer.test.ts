import type { ServerResponse } from 'node:http'
import { expect, test } from 'vitest'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import { body, freePort, held, httpServer, LONG_CARD, row, tempDir } from '../rows.ts'
import { consultOn } from './consult.ts'

/** What is said of a producer that answers so. */
async function call(
  answer: (response: ServerResponse) => unknown,
  settings: Record<string, string> = {},
  offline = false,
) {
  await using server = await httpServer((_received, response) => answer(response))
  const PRODUCER_URL = `${server.url.href}current-transactions?key=sesame`
  const said = await consultOn('producer', { PRODUCER_URL, ...settings }, { offline })
  expect(said.all).toHaveLength(1)
  expect(said.lines.join()).not.toMatch(/sesame|\d{11,}/)
  return { ...said, calls: server.received.length }
}
const ends = (status: number, type: string, text: string) => (response: ServerResponse) =>
  response.writeHead(status, { 'content-type': type }).end(text)
const sends = (...rows: Record<string, unknown>[]) => ends(200, 'application/json', body(rows))

test('is called once, and the transaction that comes is kept for the worker', async () => {
  await using dir = await tempDir()
  const { state, text, calls } = await call(sends(row(1, { cc_num: LONG_CARD })), {
    TOPICS_URL: `sqlite:${dir.file('t.db')}`,
  })
  expect([state, calls]).toEqual(['ok', 1])
  expect(text).toMatch(/^127\.0\.0\.1:\d+\/current-transactions answered in 0\.\d s: 1 row, kept for the worker$/)
  const topics = await sqliteTopics({ path: dir.file('t.db') })
  expect(await held(topics, 'transactions')).toEqual([
    expect.objectContaining({ trans_num: 'trans-1', cc_num: LONG_CARD }),
  ])
  await topics.close()
})

test('does not call when the topics could not keep what comes', async () => {
  const TOPICS_URL = `postgres://127.0.0.1:${await freePort()}/db`
  const { state, text, calls } = await call(sends(row(1)), { TOPICS_URL })
  expect([state, calls]).toEqual(['skipped', 0])
  expect(text).toMatch(/ is not called: the topics could not keep what it sends$/)
})

test('is not called offline', async () => {
  const { state, text, calls } = await call(sends(row(1)), {}, true)
  expect([state, calls]).toEqual(['skipped', 0])
  expect(text).toMatch(/\/current-transactions is not called \(--offline\)$/)
})

test('an unset PRODUCER_URL is worth a note', async () => {
  for (const offline of [true, false]) {
    const { lines } = await consultOn('producer', {}, { offline })
    expect(lines).toEqual(['note    producer PRODUCER_URL is not set: transactions are simulated'])
  }
})

test('columns that stay empty are worth a note', async () => {
  const { merch_lat, job, is_fraud, ...rest } = row(1)
  const { state, text } = await call(sends(rest))
  expect(state).toBe('note')
  expect(text).toMatch(/: 1 row, kept for the worker; without job, merch_lat: the model gets these empty$/)
})

test('rows that would be set aside', async () => {
  await using dir = await tempDir()
  const { cc_num, ...rest } = row(1)
  const { state, text, cure } = await call(sends(rest), { TOPICS_URL: `sqlite:${dir.file('t.db')}` })
  expect(state).toBe('wrong')
  expect(text).toMatch(/: 1 of 1 row would be set aside: cc_num is missing$/)
  expect(cure).toMatch(/^PRODUCER_URL must send the columns cc_num, amt, trans_num and current_time/)
  const topics = await sqliteTopics({ path: dir.file('t.db') })
  expect(await held(topics, 'dead-letters')).toHaveLength(1) // it exists nowhere else
  await topics.close()
})

test('an answer without a row is worth a note', async () => {
  const { state, text } = await call(ends(200, 'application/json', '{"columns":["amt"],"data":[]}'))
  expect(state).toBe('note')
  expect(text).toMatch(/ without a row$/)
})

test('its rate limit is worth a note: it is there', async () => {
  const { state, text } = await call(ends(429, 'application/json', '{"error":"Rate limit exceeded: 5 per 1 minute"}'))
  expect(state).toBe('note')
  expect(text).toMatch(/answered 429, its rate limit is reached; it is there, and somebody else has called it/)
})

test.for<[string, (response: ServerResponse) => unknown, RegExp, RegExp]>([
  [
    'a page',
    ends(200, 'text/html', '<!doctype html><title>Payments</title>'),
    /sent an HTML page "Payments" instead of data$/,
    /a page for people: PRODUCER_URL/,
  ],
  ['404', ends(404, 'application/json', '{}'), /answered 404/, /^check the path in PRODUCER_URL/],
  [
    'a redirect',
    ends(301, 'text/html', ''),
    /answered 301: PRODUCER_URL has moved$/,
    /^set PRODUCER_URL to the new address/,
  ],
  ['401', ends(401, 'application/json', '{}'), /answered 401/, /^it wants a key, or another one: set PRODUCER_HEADERS/],
  ['500', ends(500, 'text/plain', 'Internal Server Error'), /answered 500/, /^it is there and has trouble of its own/],
  [
    'another document',
    ends(200, 'application/json', '{"items":17}'),
    /: the body is no document: it is an object with the keys items, of which none is known$/,
    /^PRODUCER_URL must answer \{"columns"/,
  ],
  [
    'an error',
    ends(200, 'application/json', '{"error":"quota"}'),
    /answered 200, and no data: quota$/,
    /^it says itself/,
  ],
  ['nothing', ends(200, 'application/json', ''), /sent nothing$/, /^is PRODUCER_URL the payments API/],
  [
    'a cut connection',
    (response) => response.destroy(),
    /: cannot reach the producer: the connection was closed/,
    /PRODUCER_URL/,
  ],
])('what is no data is wrong, with its cure: %s', async ([, answer, what, how]) => {
  const { state, text, cure, calls } = await call(answer)
  expect([state, calls]).toEqual(['wrong', 1])
  expect(text).toMatch(what)
  expect(cure).toMatch(how)
})

test('nobody there', async () => {
  const { lines } = await consultOn('producer', { PRODUCER_URL: `http://127.0.0.1:${await freePort()}/x` })
  expect(lines).toEqual([
    expect.stringMatching(
      /^WRONG {3}producer 127\.0\.0\.1:\d+\/x: cannot reach the producer: connect ECONNREFUSED .* → nothing listens there: is it up\? Check host and port in PRODUCER_URL$/,
    ),
  ])
})

test('a host that is not known', async () => {
  const { cure } = await consultOn('producer', { PRODUCER_URL: 'http://payments.invalid/x' })
  expect(cure).toMatch(/^no such host is known: check the host in PRODUCER_URL/)
})

test('https:// for a server without TLS', async () => {
  await using server = await httpServer((_received, response) => response.end('{}'))
  const { text, cure } = await consultOn('producer', { PRODUCER_URL: `https://${server.url.host}/x` })
  expect(text).toMatch(
    /\/x: cannot reach the producer: write EPROTO TLS: (wrong version number|packet length too long)$/,
  )
  expect(cure).toBe('one side speaks TLS, the other does not: check the scheme and port in PRODUCER_URL')
})
