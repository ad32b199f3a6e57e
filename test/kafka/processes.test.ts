import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, onTestFailed, test } from 'vitest'
import { parse } from '../../src/json.ts'
import { kafkaTopics } from '../../src/topic/kafka.ts'
import { isFraud, outside, someRows } from '../outside.ts'
import { body, httpServer, tempDir, transaction, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'
import { type Kafka, startKafka } from './broker.ts'

const MINUTE = 60_000
const CARDS = 500

let kafka: Kafka
beforeAll(async () => {
  kafka = await startKafka()
}, 5 * MINUTE)
afterAll(() => kafka[Symbol.asyncDispose]())

let runs = 0
/** Topics that no other test has: the settings that lead to them, and a look into them beside the workers. */
async function freshTopics({ brokers }: Kafka, settings: Record<string, string> = {}) {
  const prefix = `run${runs++}-`
  const log = pino({ level: 'silent' })
  const replication = settings.KAFKA_REPLICATION ? Number(settings.KAFKA_REPLICATION) : undefined
  const partitions = Number(settings.KAFKA_PARTITIONS ?? 6)
  const topics = await kafkaTopics({ brokers, prefix, partitions, replication, log, worker: false })
  return {
    settings: { TOPICS_URL: brokers.map((broker) => `kafka://${broker}`).join(), KAFKA_PREFIX: prefix, ...settings },
    /** Transactions of few cards, so that each card has many; tried until they are there. */
    async publish(from: number, to: number) {
      for (let n = from; n < to; n += 1000) {
        const transactions = Array.from({ length: Math.min(1000, to - n) }, (_, i) => ofFewCards(n + i))
        while (!(await topics.append({ transactions }).then(...outcome))) await sleep(500)
      }
    },
    lag: () => topics.reader('transactions', 'score').lag(),
    /** Resolves when the scorers have nothing left. */
    drained: (ms: number) =>
      waitFor(
        'the scorers',
        async () => {
          await sleep(200)
          return (
            (await topics
              .reader('transactions', 'score')
              .lag()
              .catch(() => 1)) === 0
          )
        },
        ms,
      ),
    async predictions() {
      const found: { partition: string; card: bigint; name: string; model: string | null }[] = []
      for await (const { id, record } of topics.scan('predictions'))
        found.push({ partition: id.split('-')[0]!, card: record.cc_num, name: record.trans_num, model: record.model })
      return found
    },
    [Symbol.asyncDispose]: () => topics.close(),
  }
}
const outcome = [() => true, () => false] as const
const ofFewCards = (n: number) => transaction(n, { cc_num: 4_000_000_000_000n + BigInt(n % CARDS) })
type Found = Awaited<ReturnType<Awaited<ReturnType<typeof freshTopics>>['predictions']>>

/** Each transaction from 0 to `count` is there once, and each card's are in order. */
function expectAllOnce(found: Found, count: number) {
  const once = new Set(found.map(({ name }) => name))
  const missing = Array.from({ length: count }, (_, n) => `trans-${n}`).filter((name) => !once.has(name))
  expect({ missing: missing.length, twice: found.length - once.size }).toEqual({ missing: 0, twice: 0 })
  for (const ofCard of Map.groupBy(found, ({ card }) => card).values()) {
    const order = ofCard.map(({ name }) => Number(name.replace('trans-', '')))
    expect(order).toEqual([...order].sort((a, b) => a - b))
  }
}

/** A model that takes so many ms, without using them. */
async function slowModel(ms: number) {
  const state = { ms }
  const server = await httpServer(async ({ text }, response) => {
    const { dataframe_split: frame } = parse(text) as unknown as { dataframe_split: { data: unknown[] } }
    await sleep(state.ms)
    response.end(JSON.stringify({ predictions: frame.data.map(() => 0) }))
  })
  return { ...server, state }
}

/** A producer that hands out rows, one a call, then 503, and knows who called when. */
async function watchedProducer(rows: Record<string, unknown>[]) {
  const state = { next: 0, calls: [] as { who: unknown; at: number }[] }
  const server = await httpServer(({ request }, response) => {
    state.calls.push({ who: request.headers['x-caller'], at: performance.now() })
    const next = rows[state.next++]
    if (next) return response.end(body([next]))
    response.writeHead(503)
    response.end()
  })
  const callsOf = (who: string, from = 0) => state.calls.slice(from).filter((call) => call.who === who).length
  return { ...server, state, callsOf }
}

/** A worker whose log is shown when the test fails. */
function work(folder: string, settings: Record<string, string>, ...args: string[]) {
  const worker = startWorker(folder, { LOG_LEVEL: 'debug', ...settings }, ...args)
  onTestFailed(() => console.log(`${settings.MODEL_NAME ?? ''} ${args}\n${shortened(worker.text())}`))
  return worker
}
type Worker = ReturnType<typeof startWorker>
const shortened = (text: string) => {
  const lines = text.split('\n').filter((line) => !/"msg":"(scored|fetched|recorded) /.test(line))
  return [...lines.slice(0, 30), ...(lines.length > 60 ? ['…'] : []), ...lines.slice(30).slice(-30)].join('\n')
}

/** `ms` that a stop may take: a container that has not ended 10 s after SIGTERM is killed. */
async function stops(worker: Worker, ms = 10_000) {
  const asked = performance.now()
  worker.kill('SIGTERM')
  expect(await worker.end).toEqual({ code: 0, signal: null })
  expect(performance.now() - asked).toBeLessThan(ms)
}
const said = (worker: Worker, text: string, ms = MINUTE) => waitFor(text, () => worker.text().includes(text), ms)
const SCORED = '"msg":"scored '

describe('scorers', () => {
  test('share 20,000 transactions, and lose or double none while one of them is killed five times', {
    timeout: 3 * MINUTE,
  }, async () => {
    await using dir = await tempDir()
    await using topics = await freshTopics(kafka)
    await topics.publish(0, 20_000)
    await using slow = await slowModel(300)
    await using quick = await slowModel(5) // kills hit commits as often as the wait for the model
    const scorer = (name: string, { url }: { url: URL }) =>
      work(dir.path, {
        ...topics.settings,
        STAGES: 'score',
        SCORE_BATCH_SIZE: '25',
        MODEL_URL: url.href,
        MODEL_NAME: name,
      })
    await using _steady = scorer('steady', slow)
    for (let kills = 0; kills < 5; kills++) {
      await using killed = scorer('killed', quick)
      await said(killed, SCORED)
      await sleep(Math.random() * 500)
      killed.kill('SIGKILL')
      await killed.end
      expect(await topics.lag()).toBeGreaterThan(0) // in the middle of it
    }
    slow.state.ms = 5
    await using _again = scorer('killed', quick)
    await topics.drained(MINUTE)
    const found = await topics.predictions()
    expectAllOnce(found, 20_000)
    expect(new Set(found.map(({ partition }) => partition)).size).toBeGreaterThanOrEqual(3)
    const by = Map.groupBy(found, (prediction) => prediction.model)
    for (const name of ['steady', 'killed']) expect(by.get(name)!.length).toBeGreaterThan(1000)
  })

  test('come and go, and brokers of three are killed or freeze, while records flow: each is scored once', {
    timeout: 4 * MINUTE,
  }, async () => {
    await using dir = await tempDir()
    await using three = await startKafka({ nodes: 3 })
    await using topics = await freshTopics(three, { KAFKA_REPLICATION: '3' })
    await using model = await slowModel(5)
    const scorer = (name: string) =>
      work(dir.path, {
        ...topics.settings,
        STAGES: 'score',
        SCORE_BATCH_SIZE: '25',
        MODEL_URL: model.url.href,
        MODEL_NAME: name,
      })
    let count = 0
    let flowing = true
    const flow = (async () => {
      for (; flowing; count += 100) {
        await topics.publish(count, count + 100)
        await sleep(200)
      }
    })()
    await using first = scorer('first')
    await said(first, SCORED)
    await using second = scorer('second')
    await said(second, SCORED)
    await three.node(1).kill()
    await using third = scorer('third')
    await said(third, SCORED)
    await stops(first)
    await three.node(1).start()
    second.kill('SIGKILL')
    await using fourth = scorer('fourth')
    await said(fourth, SCORED)
    await three.node(2).kill()
    await sleep(2000)
    await stops(third)
    await three.node(2).start()
    if (process.platform !== 'win32') {
      three.node(0).freeze() // the one that a new process asks first
      await using fifth = scorer('fifth')
      await said(fifth, SCORED)
      three.node(0).thaw()
    }
    flowing = false
    await flow
    await topics.drained(MINUTE)
    expectAllOnce(await topics.predictions(), count)
    await stops(fourth)
  })
})

/** Every row but the `excused` is recorded, and nothing twice; every fraud of them is mailed, at most `repeats` again. */
async function expectWhole(
  world: Awaited<ReturnType<typeof outside>>,
  rows: Record<string, unknown>[],
  { excused = new Set<unknown>(), repeats = 0 } = {},
) {
  const owed = rows.filter((r) => !excused.has(r.trans_num))
  const frauds = owed.filter(isFraud)
  const names = () => world.recorded().map((r) => r.trans_num)
  await waitFor('all rows', () => new Set(names()).isSupersetOf(new Set(owed.map((r) => r.trans_num))), MINUTE)
  await waitFor('all mails', () => frauds.every((r) => world.mailed(r.trans_num) > 0), MINUTE)
  expect(new Set(names()).size).toBe(names().length)
  expect(frauds.filter((r) => world.mailed(r.trans_num) > 1).length).toBeLessThanOrEqual(repeats)
  expect(rows.filter((r) => !isFraud(r) && world.mailed(r.trans_num) > 0)).toEqual([])
}

describe('several processes', () => {
  test('with the same settings keep the rate together, mail each fraud once, and take over from each other', {
    timeout: 3 * MINUTE,
  }, async () => {
    await using dir = await tempDir()
    const rows = someRows(400)
    await using world = await outside(rows, dir.path)
    await using producer = await watchedProducer(rows)
    await using topics = await freshTopics(kafka)
    const settings = {
      ...world.env,
      ...topics.settings,
      PRODUCER_URL: producer.url.href,
      PRODUCER_RATE_PER_MIN: '600',
    }
    const start = (name: string) =>
      work(dir.path, { ...settings, MODEL_NAME: name, PRODUCER_HEADERS: JSON.stringify({ 'x-caller': name }) })
    const calls = (who: string, more = 1, ms = MINUTE) => {
      const from = producer.state.calls.length
      return waitFor(`${more} calls of ${who}`, () => producer.callsOf(who, from) >= more, ms)
    }
    const turn = (stage: string) => `it is this process's turn as ${stage}`
    const standsBy = (stage: string) => `another process has its turn as ${stage}; standing by`

    await using first = start('first')
    await calls('first', 20)
    await using second = start('second')
    for (const stage of ['fetch', 'alert']) await said(second, standsBy(stage))
    const shared = { score: 'working', record: 'working' }
    await isQuiet(first, { fetch: 'working', alert: 'working', ...shared })
    await isQuiet(second, { fetch: 'standing by', alert: 'standing by', ...shared })
    await calls('first', 20)
    expect(producer.callsOf('second')).toBe(0)

    const killed = performance.now()
    first.kill('SIGKILL')
    await first.end
    const excused = new Set([rows[producer.state.next - 1]!.trans_num]) // may have been on its way
    await calls('second')
    expect(performance.now() - killed).toBeLessThan(15_000) // 6 s until the group gives it up, and a rebalance
    for (const stage of ['fetch', 'alert']) await said(second, turn(stage))

    await using third = start('third')
    for (const stage of ['fetch', 'alert']) await said(third, standsBy(stage))
    await using fourth = start('fourth')
    for (const stage of ['fetch', 'alert']) await said(fourth, standsBy(stage))
    await calls('second', 20)
    expect(producer.callsOf('third')).toBe(0)
    await stops(third)
    await calls('second', 20)
    const left = performance.now()
    await Promise.all([stops(second), calls('fourth')])
    expect(performance.now() - left).toBeLessThan(5000) // the next heartbeat tells
    await said(fourth, turn('alert'))

    await expectWhole(world, rows, { excused, repeats: 1 })
    const { calls: all } = producer.state
    for (const { at } of all) {
      // Calls are 101 ms apart; a busy machine brings one a little late.
      expect(all.filter((other) => other.at >= at && other.at < at + 6000).length).toBeLessThanOrEqual(62)
    }
    const mailers = [first, second, third, fourth]
      .flatMap((worker, n) => mailTimes(worker).map((time) => ({ time, n })))
      .sort((a, b) => (a.time < b.time ? -1 : 1))
      .map(({ n }) => n)
    expect(mailers.filter((n, i) => n !== mailers[i - 1])).toEqual([0, 1, 3])
    await stops(fourth)
  })

  test('one fetcher, scorers, and one that mails and records, by STAGES, are one flow', {
    timeout: 2 * MINUTE,
  }, async () => {
    await using dir = await tempDir()
    const rows = someRows(400)
    await using world = await outside(rows, dir.path)
    await using topics = await freshTopics(kafka, { KAFKA_PARTITIONS: '2' })
    const start = (stages: string, name = 'rf/7') =>
      work(dir.path, {
        ...world.env,
        ...topics.settings,
        PRODUCER_RATE_PER_MIN: '6000',
        SCORE_BATCH_SIZE: '10',
        LOG_LEVEL: 'debug',
        MODEL_NAME: name,
        STAGES: stages,
      })
    await using stack = new AsyncDisposableStack()
    const scorers = ['one', 'two', 'three'].map((name) => stack.use(start('score', name)))
    await using end = start('alert,record')
    await using fetcher = start('fetch')
    await expectWhole(world, rows)
    expect(new Set(world.recorded().map((r) => r.model)).size).toBeGreaterThan(1)
    expect(stagesOf(fetcher)).toEqual(['fetch'])
    expect(stagesOf(end)).toEqual(['alert', 'record'])
    const others = { fetch: 'elsewhere', alert: 'elsewhere', record: 'elsewhere' }
    const idle = await waitFor('one to stand by', async () => {
      const all = await Promise.all(scorers.map(states))
      const standing = scorers.filter((_, i) => all[i]!.score === 'standing by')
      return standing.length === 1 ? standing[0] : undefined
    })
    for (const worker of scorers)
      await isQuiet(worker, { ...others, score: worker === idle ? 'standing by' : 'working' })
    await isQuiet(end, { fetch: 'elsewhere', score: 'elsewhere', alert: 'working', record: 'working' })
    expect(world.smtp.mails.filter((mail) => !mail.startsWith('Fraud'))).toEqual([])
    await stops(scorers.find((worker) => worker !== idle)!)
    await waitFor('its turn', async () => (await states(idle)).score === 'working', MINUTE)
    await isQuiet(idle, { ...others, score: 'working' })
    await Promise.all([stops(fetcher), stops(end)])
  })
})

async function readiness(worker: Worker) {
  const [, url] = (await waitFor('the page', () => /status page: (http:\S+)\//.exec(worker.text())))!
  return fetch(`${url}/readyz`)
}
/** Of each stage, as the process tells of them. */
async function states(worker: Worker): Promise<Record<string, string>> {
  const { stages } = (await (await readiness(worker)).json()) as { stages: { stage: string; state: string }[] }
  return Object.fromEntries(stages.map(({ stage, state }) => [stage, state]))
}
/** It is ready, in these states, and no stage of it has complained of anything. */
async function isQuiet(worker: Worker, wanted: Record<string, string>) {
  await waitFor(`the states of ${JSON.stringify(wanted)}`, async () => isDeepStrictEqual(await states(worker), wanted))
  expect((await readiness(worker)).status).toBe(200)
  expect(linesOf(worker).filter(({ level, stage }) => stage && level !== 'info' && level !== 'debug')).toEqual([])
}

const linesOf = (worker: Worker) =>
  worker
    .text()
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as { time: string; level: string; stage?: string; msg: string })
const mailTimes = (worker: Worker) =>
  linesOf(worker).flatMap(({ stage, msg, time }) => (stage === 'alert' && msg.includes('Fraud alert') ? time : []))
const stagesOf = (worker: Worker) => [...new Set(linesOf(worker).flatMap(({ stage }) => stage ?? []))].sort()

describe('the broker', () => {
  const frozen = process.platform !== 'win32'
  const lose = { down: () => kafka.node(0).kill(), frozen: async () => kafka.node(0).freeze() }
  const back = { down: () => kafka.node(0).start(), frozen: async () => kafka.node(0).thaw() }

  for (const state of frozen ? (['down', 'frozen'] as const) : (['down'] as const))
    test(`${state}: SIGTERM ends with exit 0 within 10 s, at once and in the middle of the outage`, {
      timeout: 3 * MINUTE,
    }, async () => {
      await using dir = await tempDir()
      await using topics = await freshTopics(kafka)
      const rows = someRows(10_000)
      await using world = await outside(rows, dir.path)
      const start = (name: string) =>
        work(dir.path, { ...world.env, ...topics.settings, MODEL_NAME: name, PRODUCER_RATE_PER_MIN: '6000' })
      await using early = start('early')
      await waitFor('rows', () => world.recorded().length > 20, MINUTE)
      await using late = start('late')
      await said(late, SCORED)
      try {
        await lose[state]()
        await stops(early)
        await said(late, 'cannot work with Kafka')
        await sleep(1000)
        await stops(late)
      } finally {
        await back[state]()
      }
      await using after = start('after')
      await said(after, SCORED)
      await stops(after)
      expect(new Set(world.recorded().map((r) => r.trans_num)).size).toBe(world.recorded().length)
    })

  test('down at the start: one line for each growing pause, and the work begins when it comes', {
    timeout: 2 * MINUTE,
  }, async () => {
    await using dir = await tempDir()
    await using topics = await freshTopics(kafka)
    const rows = someRows(20)
    await using world = await outside(rows, dir.path)
    await kafka.node(0).kill()
    await using worker = work(dir.path, { ...world.env, ...topics.settings })
    try {
      await sleep(15_000)
      expect(worker.running()).toBe(true)
      const pauses = linesOf(worker).flatMap(({ msg }) => /retrying in ([\d.]+) s$/.exec(msg)?.[1] ?? [])
      expect(pauses.length).toBeGreaterThanOrEqual(2)
      expect(linesOf(worker).length).toBeLessThanOrEqual(12)
      expect(Number(pauses.at(-1))).toBeGreaterThan(Number(pauses[0]))
    } finally {
      await kafka.node(0).start()
    }
    await expectWhole(world, rows)
    await stops(worker)
  })

  test('unreachable: once ends with exit 1 and dead-letters does so without waiting; both say why', {
    timeout: 2 * MINUTE,
  }, async () => {
    await using dir = await tempDir()
    await using world = await outside([], dir.path)
    let calls = 0
    await using closing = await listening((socket) => {
      calls++
      socket.destroy()
    })
    const nobody = await listening(() => {})
    await nobody[Symbol.asyncDispose]()
    const run = async (port: number, code: number, ms: number, ...args: string[]) => {
      const started = performance.now()
      const settings = { ...world.env, TOPICS_URL: `kafka://127.0.0.1:${port}`, ONCE_SECONDS: '14' }
      await using ended = work(dir.path, settings, ...args)
      expect((await ended.end).code).toBe(code)
      expect(performance.now() - started).toBeLessThan(ms)
      return ended.text()
    }
    const said = await Promise.all([
      run(nobody.port, 1, 25_000, 'once'),
      run(closing.port, 1, 25_000, 'once'),
      run(nobody.port, 1, 10_000, 'dead-letters'),
      run(closing.port, 1, 20_000, 'dead-letters'),
    ])
    for (const [i, { port }] of [nobody, closing, nobody, closing].entries())
      expect(said[i]).toContain(
        `cannot work with Kafka at 127.0.0.1:${port}: ${port === nobody.port ? 'connect ECONNREFUSED' : 'Connection closed'}`,
      )
    expect(calls).toBeLessThan(250) // no hot loop
  })

  test('killed in the middle of the whole flow: nothing is lost, nothing done twice', {
    timeout: 3 * MINUTE,
  }, async () => {
    await using dir = await tempDir()
    const rows = someRows(600)
    await using world = await outside(rows, dir.path)
    await using topics = await freshTopics(kafka)
    await using worker = work(dir.path, {
      ...world.env,
      ...topics.settings,
      PRODUCER_RATE_PER_MIN: '6000',
      SCORE_BATCH_SIZE: '5',
    })
    for (const share of [0.2, 0.5]) {
      await waitFor('some rows', () => world.recorded().length > rows.length * share, MINUTE)
      await kafka.node(0).kill()
      await sleep(3000)
      await kafka.node(0).start()
    }
    await expectWhole(world, rows)
    expectAllOnce(await topics.predictions(), rows.length)
    await stops(worker)
  })
})

async function listening(meet: (socket: Socket) => void) {
  const server = createServer(meet)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return { port, [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) }
}
