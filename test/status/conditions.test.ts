import { expect, onTestFinished, test, vi } from 'vitest'
import type { StageStatus } from '../../src/run/loop.ts'
import { conditions } from '../../src/status/conditions.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import { prediction, tempDir, transaction } from '../rows.ts'

const MINUTE = 60_000

/** Topics whose clock is set by hand, and what is wrong there, by name. */
async function place() {
  const dir = await tempDir()
  vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2026, 0, 2) })
  onTestFinished(() => void vi.useRealTimers())
  const topics = await sqliteTopics({ path: dir.file('topics.db') })
  const score = topics.reader('transactions', 'score')
  const health: { fetch: StageStatus; score: StageStatus; record: StageStatus } = { fetch: {}, score: {}, record: {} }
  const ask = conditions({ topics, health, readers: ['score', 'record'], lagMinutes: 10 })
  return {
    topics,
    health,
    score,
    now: () => Date.now(),
    pass(ms: number) {
      vi.setSystemTime(Date.now() + ms)
    },
    wrong: async () =>
      Object.fromEntries(
        (await ask()).filter(({ wrong }) => wrong).map(({ name, wrong, since }) => [name, [wrong, since]]),
      ),
    async [Symbol.asyncDispose]() {
      await topics.close()
      await dir[Symbol.asyncDispose]()
    },
  }
}

test('nothing is wrong at first', async () => {
  await using p = await place()
  expect(await p.wrong()).toEqual({})
})

test('a stage that fails is the trouble of the system outside it, since then, for the reason at last', async () => {
  await using p = await place()
  p.health.fetch.failing = { since: 1, reason: 'cannot reach the producer' }
  p.health.score.failing = { since: 2, reason: 'cannot reach the model' }
  p.health.record.failing = { since: 3, reason: 'cannot record' }
  expect(await p.wrong()).toEqual({
    'the producer': ['cannot reach the producer', 1],
    'the model': ['cannot reach the model', 2],
    'the database': ['cannot record', 3],
  })
  p.health.score.failing = undefined
  expect(Object.keys(await p.wrong())).toEqual(['the producer', 'the database'])
})

test('a stage of another process is left to its backlog', async () => {
  await using p = await place()
  const ask = conditions({ topics: p.topics, health: {}, readers: ['score'], lagMinutes: 10, now: p.now })
  expect((await ask()).map(({ name }) => name)).toEqual(['the backlog of score', 'dead letters'])
})

test('a backlog is trouble when its oldest record has waited for too long, however many follow', async () => {
  await using p = await place()
  const began = p.now()
  await p.topics.append({ transactions: [transaction(1)] })
  p.pass(10 * MINUTE)
  await p.topics.append({ transactions: [transaction(2)] })
  expect(await p.wrong()).toEqual({})
  p.pass(1)
  expect(await p.wrong()).toEqual({
    'the backlog of score': ['2 records wait for score, the oldest for 10 min (ALERT_LAG_MINUTES is 10).', began],
  })
  await (await p.score.read(9, AbortSignal.timeout(5000))).commit(1)
  expect(await p.wrong()).toEqual({})
})

test('so is that of another reader', async () => {
  await using p = await place()
  await p.topics.append({ predictions: [prediction(1)] })
  p.pass(11 * MINUTE)
  expect(Object.keys(await p.wrong())).toEqual(['the backlog of record'])
})

test('dead letters are trouble while one is younger than half an hour; what was put back is none', async () => {
  await using p = await place()
  const letter = (at: number) => ({ stage: 'fetch' as const, at, reason: 'bad', record: {} })
  await p.topics.append({
    'dead-letters': [letter(p.now() - 31 * MINUTE), letter(p.now()), { retried: '2', at: p.now() }],
  })
  expect(await p.wrong()).toEqual({})
  await p.topics.append({ 'dead-letters': [letter(p.now()), letter(p.now())] })
  await expect.poll(p.wrong).toEqual({ 'dead letters': ['2 rows were set aside in the last 30 minutes.', undefined] })
  p.pass(30 * MINUTE)
  await expect.poll(p.wrong).toEqual({})
})
