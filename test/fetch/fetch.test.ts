import { getEventListeners } from 'node:events'
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { fetchStage } from '../../src/fetch/fetch.ts'
import { type Producer, producerApi } from '../../src/fetch/producer.ts'
import { anyOf } from '../../src/io/abort.ts'
import { stringify } from '../../src/io/json.ts'
import type { Notes } from '../../src/topic/topic.ts'
import type { DeadLetter } from '../../src/transaction.ts'
import { body, held, httpServer, LONG_CARD, listeningLog, row, tempDir, waitFor } from '../rows.ts'
import { sqliteTopics, type AskedTopics as Topics } from '../topic/asked.ts'

type Answer = (response: ServerResponse) => unknown

const say =
  (status: number, text: string, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text)
const rows = (...ns: number[]) => say(200, body(ns.map((n) => row(n))))
const away = say(429, '{"error":"Rate limit exceeded: 5 per 1 minute"}', { 'retry-after': '3600' })
const MANY = 30_000 // calls a minute, one in 2 ms

/** The stage between a real HTTP server, which gives these answers in turn and then none for an hour, and real topics. */
async function world(...answers: Answer[]) {
  await using opening = new AsyncDisposableStack()
  const dir = opening.use(await tempDir())
  const asked: number[] = [] // when each call arrived
  const made: number[] = [] // and when it was made
  const server = opening.use(
    await httpServer((_, response) => {
      asked.push(Date.now())
      return (answers[asked.length - 1] ?? away)(response)
    }),
  )
  const open = () => sqliteTopics({ path: dir.file('topics.db') })
  let topics = await open()
  opening.defer(() => topics.close())
  const opened = opening.move()
  const logged = listeningLog()
  const real = producerApi({ url: server.url, headers: { authorization: 'Bearer s3cret-token' }, deadline: 20_000 })
  const api: Producer = {
    call(signal) {
      made.push(Date.now())
      return real.call(signal)
    },
  }

  return {
    asked,
    made,
    topics,
    async reopened() {
      await topics.close()
      topics = await open()
      return topics
    },
    lines: logged.lines,
    text: logged.text,
    /** Starts the stage; `stop` resolves when it has ended, with the time that took. */
    start({ ratePerMin = MANY, over = topics, producer = api }: Partial<Start> = {}) {
      const asking = new AbortController()
      const ended = fetchStage({ log: logged.log, stop: asking.signal }, { producer, topics: over, ratePerMin })
      const stop = async () => {
        const since = performance.now()
        asking.abort(new Error('stopped'))
        await ended
        return performance.now() - since
      }
      opened.defer(async () => void (await stop()))
      return stop
    },
    fetched: async () => (await held(topics, 'transactions')).map(({ trans_num }) => trans_num),
    transactions: () => held(topics, 'transactions'),
    letters: async () => (await held(topics, 'dead-letters')) as DeadLetter[],
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}
type World = Awaited<ReturnType<typeof world>>
type Start = { ratePerMin: number; over: Topics; producer: Producer }

const names = (...ns: number[]) => ns.map((n) => `trans-${n}`)
const calls = (w: World, n: number) => waitFor(`call ${n}`, () => w.asked.length >= n)
const line = (w: World, pattern: RegExp) => waitFor(`the line ${pattern}`, () => pattern.exec(w.text()))

// The longest of them comes first: the others run beside it.
test.concurrent('stopped during a call that is never answered it ends after 5 s', async () => {
  await using w = await world(() => {})
  const stop = w.start()
  await calls(w, 1)
  const took = await stop()
  expect(took).toBeGreaterThan(4900)
  expect(took).toBeLessThan(8000)
  expect(w.text()).toBe('') // a stop is no failure
})

test.concurrent('each row of each call reaches the topic, in order and with every digit', async () => {
  await using w = await world(
    rows(1),
    rows(2, 3),
    say(200, body([row(4, { cc_num: LONG_CARD }), row(5, { cc_num: String(LONG_CARD) })], { doubled: false })),
  )
  w.start()
  await calls(w, 4)
  expect(await w.fetched()).toEqual(names(1, 2, 3, 4, 5))
  expect((await w.transactions()).map(({ cc_num }) => cc_num)).toEqual([
    4_000_000_000_001n,
    4_000_000_000_002n,
    4_000_000_000_003n,
    LONG_CARD,
    LONG_CARD,
  ])
})

test.concurrent('a bad row goes to dead-letters with its reason, its neighbours go on', async () => {
  const bad = row(2, { cc_num: LONG_CARD, amt: 'free', trans_num: '' })
  await using w = await world(say(200, body([row(1), bad, row(3)])), rows(4))
  w.start()
  await calls(w, 3)
  expect(await w.fetched()).toEqual(names(1, 3, 4))
  const reason = 'amt must be a finite number; trans_num must not be empty'
  const record = { columns: Object.keys(bad), data: [Object.values(bad)] }
  expect(await w.letters()).toEqual([{ stage: 'fetch', at: expect.any(Number), reason, record }])
  expect(w.lines).toContainEqual(
    expect.objectContaining({ level: 'warn', msg: `1 row of the producer set aside in dead-letters: ${reason}` }),
  )
})

test.concurrent('a body that is no document is kept whole in dead-letters, and counts as a failure', async () => {
  await using w = await world(say(200, '{"answer":42}'), say(200, 'x'.repeat(300_000)), rows(1))
  w.start()
  await calls(w, 4)
  expect((await w.letters()).map(({ record }) => record)).toEqual([
    { body: '{"answer":42}', bytes: 13 },
    { body: 'x'.repeat(300_000), bytes: 300_000 },
  ])
  expect(await w.fetched()).toEqual(names(1))
  expect(w.text()).toMatch(
    /^the body is no document: it is an object with the keys answer, of which none is known; it is kept in dead-letters; retrying in/m,
  )
})

test.concurrent('nothing to deliver is no failure, and no dead letter', async () => {
  const none = ['[]', '{}', 'null', '""', '"[]"', '{"data":[]}', body([])].map((text) => say(200, text))
  await using w = await world(...none, (response) => response.writeHead(204).end(), rows(1))
  w.start()
  await calls(w, none.length + 3)
  expect(await w.letters()).toEqual([])
  expect(await w.fetched()).toEqual(names(1))
  expect(w.lines.filter(({ level, msg }) => level === 'warn' && !/answered 429/.test(msg))).toEqual([])
})

test.concurrent('an error with 200 is an outage, said in its own words, and no dead letter', async () => {
  await using w = await world(say(200, `{"error":"no card ${LONG_CARD} here"}`), rows(1))
  w.start()
  await calls(w, 3)
  expect(await w.letters()).toEqual([])
  expect(await w.fetched()).toEqual(names(1))
  expect(w.text()).toMatch(/^the producer answered 200, and no data: no card …4184 here; retrying in/m)
})

test.concurrent('a column that cannot be read stops nothing, and is named once', async () => {
  const odd = (n: number) => row(n, { is_fraud: {}, dob: '03/04/1980', zip: 'K1A 0B1' })
  await using w = await world(say(200, body([odd(1), odd(2)])), say(200, body([odd(3)])))
  w.start()
  await calls(w, 3)
  expect(await w.transactions()).toMatchObject(Array(3).fill({ is_fraud: null, dob: null, zip: null }))
  expect(w.lines.filter(({ msg }) => /column/.test(msg)).map(({ msg }) => msg)).toEqual([
    "the producer's column zip is not a whole number; said once for each column",
    "the producer's column dob is not a date like 1980-12-31; said once for each column",
    "the producer's column is_fraud is not 0 or 1; said once for each column",
  ])
})

test.concurrent('a name of a fork is read as ours, and that is said once', async () => {
  const fork = (n: number) => Object.fromEntries(Object.entries(row(n)).map(([k, v]) => [k.replace('long', 'lon'), v]))
  await using w = await world(say(200, body([fork(1)])), say(200, stringify([fork(2), fork(3)])))
  w.start()
  await calls(w, 3)
  expect(await w.transactions()).toMatchObject(Array(3).fill({ long: -89.6501, merch_long: -89.5 }))
  expect(w.lines.filter(({ msg }) => /column/.test(msg)).map(({ msg }) => msg)).toEqual([
    "the producer's column lon is read as long; said once for each column",
    "the producer's column merch_lon is read as merch_long; said once for each column",
  ])
})

test.concurrent('a large body is kept part by part, and others have their turn in between', async () => {
  const count = 20_000
  await using w = await world(rows(...Array.from({ length: count }, (_, n) => n)))
  const sizes: number[] = []
  const over: Topics = {
    ...w.topics,
    async append(writes) {
      sizes.push(writes.transactions!.length)
      await w.topics.append(writes)
    },
  }
  w.start({ over })
  await calls(w, 2)
  expect(new Set(await w.fetched()).size).toBe(count)
  expect(sizes.length).toBeGreaterThan(2)
})

test.concurrent.for<[string, Answer, RegExp]>([
  ['a 429', say(429, '{}'), /the producer answered 429/],
  ['a 500', say(500, 'Internal Server Error', { 'content-type': 'text/plain' }), /the producer answered 500/],
  ['a 503', say(503, '<title>Offline</title>', { 'content-type': 'text/html' }), /the producer answered 503/],
  ['HTML with 200', say(200, '<!doctype html>'), /the producer sent an HTML page/],
  ['an empty 200', say(200, ''), /the producer sent nothing/],
  ['a redirect', say(302, '', { location: '/elsewhere' }), /the producer answered 302: PRODUCER_URL has moved/],
  ['a reset', (response) => response.socket?.destroy(), /cannot reach the producer/],
  [
    'an answer cut in the middle',
    (response) => {
      response.writeHead(200, { 'content-length': 5000 })
      response.write(body([row(9)]), () => response.socket?.destroy())
    },
    /cannot reach the producer/,
  ],
])('goes on after %s, and logs one line that says when', async ([, answer, said]) => {
  await using w = await world(answer, rows(1))
  w.start()
  await calls(w, 3)
  expect(await w.fetched()).toEqual(names(1))
  expect(await w.letters()).toEqual([])
  const [first] = w.lines.filter(({ level }) => level === 'warn')
  expect(first?.msg).toMatch(new RegExp(`^${said.source}.*; retrying in \\d+(\\.\\d)? s$`))
})

test.concurrent.for<[string, number, () => string]>([
  ['a 429 with Retry-After in seconds', 429, () => '1'],
  ['a 500 with Retry-After in seconds', 500, () => '1'],
  ['a 503 with Retry-After as a date', 503, () => new Date(Date.now() + 2000).toUTCString()],
])('after %s it stays away for so long', async ([, status, retryAfter]) => {
  let until = 0
  await using w = await world((response) => {
    const header = retryAfter()
    until = /GMT/.test(header) ? Date.parse(header) : Date.now() + 1000
    return say(status, '{}', { 'retry-after': header })(response)
  }, rows(1))
  w.start()
  await calls(w, 2)
  expect(w.asked[1]).toBeGreaterThanOrEqual(until - 2) // a timer may be a millisecond early
})

/** Topics whose leader notes so. */
const noting = (topics: Topics, note: (notes: Notes, next: () => Promise<void>) => Promise<void>): Topics => ({
  ...topics,
  lead: (name, stop, work) =>
    topics.lead(name, stop, (lease) => work({ ...lease, note: (notes) => note(notes, () => lease.note(notes)) })),
})

test.concurrent('keeps its distance: no window holds more calls than the rate allows', async () => {
  const count = 15
  await using w = await world(...Array.from({ length: count }, (_, n) => rows(n)))
  const noted: number[] = []
  const over = noting(w.topics, async (notes, note) => {
    noted.push((notes.fetch as { called_at: number }).called_at)
    await note()
  })
  w.start({ ratePerMin: 600, over })
  await calls(w, count)
  const gaps = noted.slice(1, count).map((at, i) => at - noted[i]!)
  expect(gaps).toHaveLength(count - 1)
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(100) // 600 a minute
  for (const [j, at] of w.asked.slice(0, count).entries()) {
    expect(at).toBeGreaterThanOrEqual(noted[j]!)
    // On the way a call may lose as much as the 1 % leaves in 60 s.
    for (let i = 0; i < j; i++) expect(w.made[j]! - w.made[i]!).toBeGreaterThan((j - i) * 100 - 600)
  }
})

test.concurrent('keeps 1 % more than the distance, for what the clocks of both sides differ in', async () => {
  await using w = await world()
  const last = Date.now() - 59_900
  await w.topics.append({}, { fetch: { called_at: last } })
  w.start({ ratePerMin: 1 })
  await calls(w, 1)
  expect(w.asked[0]).toBeGreaterThanOrEqual(last + 60_500)
})

test.concurrent('a failed call counts for the rate too', async () => {
  await using w = await world(say(500, ''), rows(1))
  w.start({ ratePerMin: 60 })
  await calls(w, 2)
  expect(w.made[1]! - w.made[0]!).toBeGreaterThan(900)
})

test.concurrent('keeps its distance over a restart', async () => {
  await using w = await world(rows(1), rows(2))
  const stop = w.start({ ratePerMin: 60 })
  await calls(w, 1)
  await stop()
  w.start({ ratePerMin: 60, over: await w.reopened() })
  await calls(w, 2)
  expect(w.made[1]! - w.made[0]!).toBeGreaterThan(900)
})

test.concurrent('notes the call before it is made: after a crash in the middle of it the distance holds', async () => {
  let noted: unknown
  await using w = await world(async (response) => {
    noted = await w.topics.noted('fetch')
    rows(1)(response)
  })
  const before = Date.now()
  w.start({ ratePerMin: 60 })
  await waitFor('the call', () => noted)
  expect(noted).toEqual({ called_at: expect.any(Number) })
  expect((noted as { called_at: number }).called_at).toBeGreaterThanOrEqual(before)
})

test.concurrent('makes no call while it cannot be noted', async () => {
  await using w = await world(rows(1))
  let failures = 2
  let writable = 0
  const over = noting(w.topics, async (_, note) => {
    if (failures-- > 0) throw new Error('cannot write the topics')
    writable ||= Date.now()
    await note()
  })
  w.start({ ratePerMin: 600, over })
  await calls(w, 1)
  expect(w.asked[0]).toBeGreaterThanOrEqual(writable)
  expect(writable).toBeGreaterThan(0)
})

test.concurrent('calls nobody while it is another process’s turn, and keeps the distance to its last call', async () => {
  await using w = await world(rows(1), rows(2))
  const mine = Promise.withResolvers<void>()
  const over: Topics = {
    ...w.topics,
    lead: (name, stop, work) => mine.promise.then(() => w.topics.lead(name, stop, work)),
  }
  w.start({ ratePerMin: 120, over })
  await sleep(200)
  expect(w.asked).toEqual([])
  const called_at = Date.now()
  await w.topics.append({}, { fetch: { called_at } }) // by the other one
  mine.resolve()
  await calls(w, 2)
  expect(w.asked[0]! - called_at).toBeGreaterThanOrEqual(500)
})

test.concurrent('does not call when it has lost its turn in the pause before, and keeps that distance too', async () => {
  await using w = await world(rows(1), rows(2))
  const again = Promise.withResolvers<void>()
  const lost = new AbortController()
  const over: Topics = {
    ...w.topics,
    async lead(name, stop, work) {
      const either = anyOf(stop, lost.signal)
      await w.topics.lead(name, stop, (lease) => work({ ...lease, lost: lost.signal, stop: either }))
      await again.promise
      await w.topics.lead(name, stop, work)
    },
  }
  w.start({ ratePerMin: 120, over })
  await calls(w, 1)
  await sleep(100)
  lost.abort(new Error('another process has taken over'))
  await sleep(600)
  expect(w.asked.length).toBe(1)
  const called_at = Date.now()
  await w.topics.append({}, { fetch: { called_at } }) // by the other one
  again.resolve()
  await calls(w, 2)
  expect(w.asked[1]! - called_at).toBeGreaterThanOrEqual(500)
})

test.concurrent('a clock that was set back does not keep it waiting', async () => {
  await using w = await world(rows(1))
  await w.topics.append({}, { fetch: { called_at: Date.now() + 3_600_000 } })
  const start = Date.now()
  w.start({ ratePerMin: 120 })
  await calls(w, 1)
  expect(w.asked[0]! - start).toBeGreaterThan(450) // one distance, as nobody knows when the last call was
})

test.concurrent('makes what came durable before it calls again, however long that takes', async () => {
  await using w = await world(rows(1, 2), rows(3))
  let writing = false
  let askedMeanwhile = 0
  const over: Topics = {
    ...w.topics,
    async append(writes) {
      writing = true
      const before = w.asked.length
      await sleep(100)
      await w.topics.append(writes)
      askedMeanwhile += w.asked.length - before
      writing = false
    },
  }
  w.start({ over })
  await calls(w, 3)
  expect(writing).toBe(false)
  expect(askedMeanwhile).toBe(0)
  expect(await w.fetched()).toEqual(names(1, 2, 3))
})

test.concurrent('the store is down: tries the same rows until they are in, and calls nobody meanwhile', async () => {
  await using w = await world(say(200, body([row(1), row(2, { amt: 'free' })])), rows(3))
  let failures = 3
  const asked: number[] = []
  const over: Topics = {
    ...w.topics,
    async append(writes) {
      asked.push(w.asked.length)
      if (failures-- > 0) throw new Error('cannot write the topics', { cause: new Error('disk full') })
      return w.topics.append(writes)
    },
  }
  w.start({ over })
  await calls(w, 3)
  expect(asked).toEqual([1, 1, 1, 1, 2])
  expect(await w.fetched()).toEqual(names(1, 3))
  expect(await w.letters()).toHaveLength(1)
  expect(w.lines.filter(({ msg }) => /^cannot write the topics: disk full; retrying in/.test(msg))).toHaveLength(3)
})

test.concurrent('stopped while the store is down it tries once more before it gives up', async () => {
  await using w = await world(rows(1))
  let failures = 1
  const over: Topics = {
    ...w.topics,
    async append(writes) {
      if (failures-- > 0) throw new Error('cannot write the topics')
      return w.topics.append(writes)
    },
  }
  const stop = w.start({ over })
  await line(w, /cannot write the topics; retrying in/)
  await stop()
  expect(await w.fetched()).toEqual(names(1))
})

test.concurrent('stopped during a call it waits for the answer in flight, and keeps it', async () => {
  let answer = () => {}
  await using w = await world((response) => {
    answer = () => rows(1)(response)
  })
  const stop = w.start()
  await calls(w, 1)
  const stopped = stop()
  await sleep(300) // long enough for whoever would cut the call
  answer()
  await stopped
  expect(await w.fetched()).toEqual(names(1))
  expect(w.asked).toHaveLength(1)
})

test.concurrent('stopped during a pause it ends at once', async () => {
  await using paced = await world(rows(1))
  await using failing = await world()
  const stops = [paced.start({ ratePerMin: 1 }), failing.start()]
  await line(paced, /fetched 1/)
  await line(failing, /retrying in 3600 s/)
  for (const stop of stops) expect(await stop()).toBeLessThan(1000)
  expect(paced.asked).toHaveLength(1)
})

test.concurrent('a mistake in the program ends the stage with its error', async () => {
  await using w = await world()
  const producer = { call: () => Promise.reject(new TypeError('nobody expected this')) }
  const stop = new AbortController().signal
  const running = fetchStage({ log: listeningLog().log, stop }, { producer, topics: w.topics, ratePerMin: MANY })
  await expect(running).rejects.toThrow('nobody expected this')
})

test.concurrent('a call that is over leaves nothing behind at the stop signal', async () => {
  await using w = await world()
  const stop = new AbortController()
  const listening: number[] = []
  const producer: Producer = {
    async call() {
      listening.push(getEventListeners(stop.signal, 'abort').length)
      if (listening.length === 20) stop.abort(new Error('stopped'))
      return body([row(1)])
    },
  }
  await fetchStage({ log: listeningLog().log, stop: stop.signal }, { producer, topics: w.topics, ratePerMin: MANY })
  expect(Math.max(...listening)).toBe(listening[0])
})

test.concurrent('no log line holds a card number, a name, a header or a token', async () => {
  const bad = row(2, { cc_num: LONG_CARD, amt: 'free', first: 'Marilyn' })
  await using w = await world(
    say(200, body([row(1, { cc_num: LONG_CARD }), bad])),
    say(200, `{"columns":["cc_num"],"rows":[[${LONG_CARD}]]}`),
    say(500, body([bad])),
    (response) => response.socket?.destroy(),
  )
  w.start()
  await calls(w, 5)
  await line(w, /retrying in 3600 s/)
  expect(w.lines.length).toBeGreaterThanOrEqual(6)
  for (const logged of w.lines) {
    expect(Object.keys(logged).sort()).toEqual(['level', 'msg', 'time'])
    expect(logged.msg).not.toMatch(/\d{11,}|Marilyn|s3cret|authorization|http:/i)
  }
})
