import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { outside, someRows } from '../outside.ts'
import { tempDir, waitFor } from '../rows.ts'
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
  work,
} from './workers.ts'

let kafka: Kafka
beforeAll(async () => {
  kafka = await startKafka()
}, 5 * MINUTE)
afterAll(() => kafka[Symbol.asyncDispose]())

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
        // What it says depends on where it was: reading, or in the middle of commits, whose end nobody knows then.
        await waitFor('it not to be ready', async () => (await readiness(late)).status === 503, MINUTE)
        expect(late.text()).toMatch(/cannot work with Kafka|did Kafka at \S+ do the last commit\?/)
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
      const settings = { ...world.env, TOPICS_URL: `kafka://127.0.0.1:${port}`, ONCE_SECONDS: '25' }
      await using ended = work(dir.path, settings, ...args)
      expect((await ended.end).code).toBe(code)
      expect(performance.now() - started).toBeLessThan(ms)
      return ended.text()
    }
    const said = await Promise.all([
      run(nobody.port, 1, MINUTE, 'once'),
      run(closing.port, 1, MINUTE, 'once'),
      run(nobody.port, 1, 25_000, 'dead-letters'),
      run(closing.port, 1, 25_000, 'dead-letters'),
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
