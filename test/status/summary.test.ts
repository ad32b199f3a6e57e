import { expect, test } from 'vitest'
import { openMonitor } from '../../src/status/monitor.ts'
import { summarize } from '../../src/status/summary.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import { listeningLog, prediction, tempDir, transaction, waitFor } from '../rows.ts'

/** The summary of a process with these stages. */
async function summary(stages: Parameters<typeof openMonitor>[0]) {
  const dir = await tempDir()
  const topics = await sqliteTopics({ path: dir.file('topics.db') })
  const watch = openMonitor(stages)
  const watched = watch.topics(topics)
  for (const [topic, name] of [
    ['transactions', 'score'],
    ['predictions', 'alert'],
    ['predictions', 'record'],
  ] as const)
    watched.reader(topic, name as never)
  const { log, lines } = listeningLog()
  const stop = new AbortController()
  const ended = summarize(log, watch, stages, stop.signal, [200, 400])
  const said = () => lines.map(({ msg }) => msg)
  return {
    watch,
    watched,
    /** the line after those that are there */
    async next() {
      const before = said().length
      await waitFor('the next line', () => said().length > before)
      return said()[before]
    },
    async end() {
      stop.abort()
      await ended
      return said().at(-1)
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await ended
      await topics.close()
      await dir[Symbol.asyncDispose]()
    },
  }
}

test('says what has passed since the line before and what waits, and in the end all of it', async () => {
  await using s = await summary(['fetch', 'score', 'alert', 'record'])
  await s.watched.append({ transactions: [transaction(1), transaction(2)], predictions: [prediction(1)] })
  s.watch.health.alert.frauds = 0
  expect(await s.next()).toMatch(
    /^in 0\.2 s: fetched 2, scored 1, flagged 0, mailed 0, recorded 0; waiting: score 2 \(oldest .*\), record 1 \(oldest .*\)$/,
  )
  const reader = s.watched.reader('predictions', 'record')
  await (await reader.read(9, AbortSignal.timeout(5000))).commit(1)
  await s.watched.append({ 'dead-letters': [{ stage: 'score', at: 0, reason: 'bad', record: transaction(1) }] })
  s.watch.health.alert.frauds = 1
  let line = await s.next()
  while (!line?.includes('recorded 1')) line = await s.next()
  expect(line).toMatch(/^in 0\.4 s: fetched 0, .*, recorded 1/)
  expect(await s.end()).toBe('in all: fetched 2, scored 1, flagged 0, mailed 0, recorded 1, set aside 1')
})

test('speaks of the stages of this process alone', async () => {
  await using s = await summary(['score'])
  expect(await s.next()).toBe('in 0.2 s: scored 0, flagged 0; nothing waits')
  await s.watched.append({ transactions: [transaction(1)], predictions: [prediction(1)] })
  expect(await s.next()).toMatch(/^in 0\.4 s: scored 1, flagged 0; /)
  let line = await s.next() // what waits is counted once a second
  while (line?.endsWith('nothing waits')) line = await s.next()
  expect(line).toMatch(/^in 0\.4 s: scored 0, flagged 0; waiting: score 1 \(oldest .*\)$/)
})
