import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from '../../src/io/json.ts'
import { outside, someRows } from '../outside.ts'
import { body, httpServer, tempDir, waitFor } from '../rows.ts'
import { promoteUnderLoad } from '../shadow/promotions.ts'
import { type Kafka, startKafka } from './broker.ts'
import {
  expectAllOnce,
  expectWhole,
  freshTopics,
  linesOf,
  MINUTE,
  readiness,
  SCORED,
  said,
  stops,
  type Worker,
  work,
} from './workers.ts'

let kafka: Kafka
beforeAll(async () => {
  kafka = await startKafka()
}, 5 * MINUTE)
afterAll(() => kafka[Symbol.asyncDispose]())

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

const mailTimes = (worker: Worker) =>
  linesOf(worker).flatMap(({ stage, msg, time }) => (stage === 'alert' && msg.includes('Fraud alert') ? time : []))
const stagesOf = (worker: Worker) => [...new Set(linesOf(worker).flatMap(({ stage }) => stage ?? []))].sort()

describe('scorers', () => {
  test('share 20,000 transactions, and lose or double none while one of them is killed five times', {
    timeout: 8 * MINUTE,
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
    await topics.drained()
    const found = await topics.predictions()
    expectAllOnce(found, 20_000)
    expect(new Set(found.map(({ partition }) => partition)).size).toBeGreaterThanOrEqual(3)
    const by = Map.groupBy(found, (prediction) => prediction.model)
    for (const name of ['steady', 'killed']) expect(by.get(name)!.length).toBeGreaterThan(1000)
  })

  test('come and go, and brokers of three are killed or freeze, while records flow: each is scored once', {
    timeout: 8 * MINUTE,
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
    await topics.drained()
    expectAllOnce(await topics.predictions(), count)
    await stops(fourth)
  })
})

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

test(
  '20 promotions under load, with two scorers: each row is stamped once, by whom it was judged; the audit holds',
  async () => {
    await using topics = await freshTopics(kafka)
    await promoteUnderLoad(topics.settings, 2, { STAGES: 'score' })
  },
  3 * MINUTE,
)
