import type { ServerResponse } from 'node:http'
import { inspect } from 'node:util'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { producerApi } from '../../src/fetch/producer.ts'
import { Outage } from '../../src/io/errors.ts'
import { body, httpServer, LONG_CARD, row } from '../rows.ts'

type Answer = (response: ServerResponse) => unknown

const MAX_BODY = 64 * 2 ** 20
const GOOD = body([row(1, { cc_num: LONG_CARD })])
const say =
  (status: number, text: string, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text)
const good = say(200, GOOD)
const HTML = { 'content-type': 'text/html; charset=utf-8' }
const secret = { authorization: 'Bearer s3cret-token' }
const never = new AbortController().signal

/** A producer that answers its calls with these, one after the other. */
async function producerThatAnswers(...answers: Answer[]) {
  const server = await httpServer((_, response) => answers.shift()!(response))
  const url = new URL('/current-transactions?key=s3cret-key', server.url)
  return {
    ...server,
    call: (signal = never, deadline = 60_000) => producerApi({ url, headers: secret, deadline }).call(signal),
  }
}

/** How a call fails; nothing secret is in the error, however deep one looks. */
async function failure(call: Promise<string>): Promise<{ message: string; wait: number }> {
  const error: Error = await call.then(
    () => expect.unreachable('the call should have failed'),
    (thrown) => thrown,
  )
  expect(inspect(error, { depth: 20, showHidden: true })).not.toMatch(/s3cret|49923463980/)
  const { message, cause } = error
  return {
    message: cause instanceof Error ? `${message}: ${cause.message}` : message,
    wait: error instanceof Outage ? error.wait : 0,
  }
}

test.concurrent('asks for the full URL with the headers it was given, and hands on what came, to the byte', async () => {
  await using producer = await producerThatAnswers(good)
  expect(await producer.call()).toBe(GOOD)
  const [{ request, text }] = producer.received as [(typeof producer.received)[0]]
  expect([request.method, request.url, text]).toEqual(['GET', '/current-transactions?key=s3cret-key', ''])
  expect(request.headers).toMatchObject({ ...secret, accept: 'application/json', 'cache-control': 'no-cache' })
})

const FAILURES: [what: string, answer: Answer, message: RegExp, wait?: [least: number, most: number]][] = [
  ['429', say(429, '{"error":"Rate limit exceeded: 5 per 1 minute"}'), /^the producer answered 429, its rate limit/],
  ['429 with Retry-After', say(429, '{}', { 'retry-after': '7' }), /^the producer answered 429/, [7000, 7000]],
  ['500', say(500, 'Internal Server Error', { 'content-type': 'text/plain' }), /answered 500 \(text\/plain\)$/],
  ['500 with Retry-After', say(500, 'x', { 'retry-after': '3' }), /answered 500/, [3000, 3000]],
  [
    '503 with Retry-After as a date',
    say(503, '<title> Offline </title>', { ...HTML, 'retry-after': new Date(Date.now() + 3_000_000).toUTCString() }),
    /answered 503 \(an HTML page "Offline"\)$/,
    [2_500_000, 3_000_000],
  ],
  ['404', say(404, '{"detail":"Not Found"}'), /answered 404 \(application\/json\)$/],
  [
    'HTML with 200',
    say(200, '\n<!DOCTYPE html><p>Waking up…', HTML),
    /^the producer sent an HTML page instead of data$/,
  ],
  [
    'HTML with 200 that calls itself JSON',
    say(200, '<html><title>Hi</title>'),
    /sent an HTML page "Hi" instead of data/,
  ],
  ['a piece of HTML with 200', say(200, '<p>Waking up…</p>', HTML), /^the producer sent an HTML page instead of data$/],
  ['an empty 200', say(200, ''), /^the producer sent nothing$/],
  ['a blank 200', say(200, ' \r\n'), /^the producer sent nothing$/],
  ['a connection that is closed at once', (response) => response.socket?.destroy(), /^cannot reach the producer: /],
  [
    'a connection that is cut in the middle of the body',
    (response) => {
      response.writeHead(200, { 'content-length': GOOD.length })
      response.write(GOOD.slice(0, 300), () => response.socket?.destroy())
    },
    /^cannot reach the producer: /,
  ],
  [
    'a connection that is cut in the middle of a chunked body',
    (response) => response.writeHead(200).write(GOOD.slice(0, 300), () => response.socket?.destroy()),
    /^cannot reach the producer: /,
  ],
  [
    'what is no HTTP',
    (response) => response.socket?.end('220 smtp.example.com ESMTP\r\n'),
    /^cannot reach the producer: /,
  ],
  [
    'a body over 64 MiB',
    say(200, ' '.repeat(MAX_BODY + 1)),
    /^cannot reach the producer: the answer is larger than 64 MiB$/,
  ],
  [
    'a body that unpacks to more than 64 MiB',
    (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(' '.repeat(MAX_BODY + 1))),
    /^cannot reach the producer: the answer is larger than 64 MiB$/,
  ],
]

test.concurrent.for(FAILURES)(
  'a call fails on %s, and a good one after it works',
  async ([, answer, message, wait = [0, 0]]) => {
    await using producer = await producerThatAnswers(answer, good)
    const failed = await failure(producer.call())
    expect(failed.message).toMatch(message)
    expect(failed.wait).toBeGreaterThanOrEqual(wait[0])
    expect(failed.wait).toBeLessThanOrEqual(wait[1])
    expect(await producer.call()).toBe(GOOD)
  },
)

test.concurrent('takes data that calls itself HTML: some frameworks say so of every text', async () => {
  await using producer = await producerThatAnswers(say(200, GOOD, HTML))
  expect(await producer.call()).toBe(GOOD)
})

test.concurrent.for([201, 203])('takes data that comes with a %i: it exists nowhere else', async (status) => {
  await using producer = await producerThatAnswers(say(status, GOOD))
  expect(await producer.call()).toBe(GOOD)
})

test.concurrent('a body of 64 MiB passes', async () => {
  await using producer = await producerThatAnswers(say(200, GOOD.padEnd(MAX_BODY)))
  expect(await producer.call()).toHaveLength(MAX_BODY)
})

test.concurrent.for([301, 302, 307, 308])(
  'does not follow a %i, which would carry the token elsewhere',
  async (status) => {
    await using elsewhere = await producerThatAnswers(good)
    await using producer = await producerThatAnswers(say(status, '', { location: elsewhere.url.href }), good)
    expect((await failure(producer.call())).message).toBe(`the producer answered ${status}: PRODUCER_URL has moved`)
    expect(elsewhere.received).toEqual([])
    expect(await producer.call()).toBe(GOOD)
  },
)

test.concurrent.for<[string, Answer]>([
  ['says nothing', () => {}],
  [
    'drips its body',
    (response) => {
      response.writeHead(200)
      const dripping = setInterval(() => response.write(' '), 20)
      response.on('close', () => clearInterval(dripping))
    },
  ],
  [
    'drips its headers',
    ({ socket }) => {
      socket?.write('HTTP/1.1 200 OK\r\n')
      const dripping = setInterval(() => socket?.write('x-drip: drop\r\n'), 20)
      socket?.on('close', () => clearInterval(dripping))
    },
  ],
])('gives up on a server that %s, at the deadline', async ([, answer]) => {
  await using producer = await producerThatAnswers(answer, good)
  const { message } = await failure(producer.call(never, 300))
  expect(message).toBe('cannot reach the producer: no whole answer within 0.3 s')
  expect(await producer.call()).toBe(GOOD)
})

test.concurrent('an aborted call ends at once, with the reason of the signal', async () => {
  await using producer = await producerThatAnswers(() => stop.abort(new Error('stopped')))
  const stop = new AbortController()
  expect(await failure(producer.call(stop.signal, 60_000))).toEqual({ message: 'stopped', wait: 0 })
})

test.concurrent('204 is an answer that holds nothing', async () => {
  await using producer = await producerThatAnswers((response) => response.writeHead(204).end(), good)
  expect(await producer.call()).toBe('null')
})
