import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { expect, onTestFailed } from 'vitest'
import { kafkaTopics } from '../../src/engines/kafka/topics.ts'
import { isFraud, type outside } from '../outside.ts'
import { transaction, waitFor } from '../rows.ts'
import { asked } from '../topic/asked.ts'
import { startWorker } from '../worker.ts'
import type { Kafka } from './broker.ts'

export const MINUTE = 60_000
const CARDS = 500

let runs = 0
/** Topics that no other test has: the settings that lead to them, and a look into them beside the workers. */
export async function freshTopics({ brokers }: Kafka, settings: Record<string, string> = {}) {
  const prefix = `run${runs++}-`
  const log = pino({ level: 'silent' })
  const replication = settings.KAFKA_REPLICATION ? Number(settings.KAFKA_REPLICATION) : undefined
  const partitions = Number(settings.KAFKA_PARTITIONS ?? 6)
  const topics = asked(await kafkaTopics({ brokers, prefix, partitions, replication, log, worker: false }))
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
    /** Resolves when the scorers have nothing left. They may take their time, but not stand still. */
    async drained() {
      for (let [least, since] = [Number.POSITIVE_INFINITY, Date.now()]; ; await sleep(200)) {
        const lag = await topics
          .reader('transactions', 'score')
          .lag()
          .catch(() => Number.POSITIVE_INFINITY)
        if (lag === 0) return
        if (lag < least) [least, since] = [lag, Date.now()]
        if (Date.now() - since > MINUTE) throw new Error(`the scorers have stood still for a minute, with ${lag} left`)
      }
    },
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
export function expectAllOnce(found: Found, count: number) {
  const once = new Set(found.map(({ name }) => name))
  const missing = Array.from({ length: count }, (_, n) => `trans-${n}`).filter((name) => !once.has(name))
  expect({ missing: missing.length, twice: found.length - once.size }).toEqual({ missing: 0, twice: 0 })
  for (const ofCard of Map.groupBy(found, ({ card }) => card).values()) {
    const order = ofCard.map(({ name }) => Number(name.replace('trans-', '')))
    expect(order).toEqual([...order].sort((a, b) => a - b))
  }
}

/** A worker whose log is shown when the test fails. */
export function work(folder: string, settings: Record<string, string>, ...args: string[]) {
  const worker = startWorker(folder, { LOG_LEVEL: 'debug', ...settings }, ...args)
  onTestFailed(() => console.log(`${settings.MODEL_NAME ?? ''} ${args}\n${shortened(worker.text())}`))
  return worker
}
export type Worker = ReturnType<typeof startWorker>
const shortened = (text: string) => {
  const lines = text.split('\n').filter((line) => !/"msg":"(scored|fetched|recorded) /.test(line))
  return [...lines.slice(0, 30), ...(lines.length > 60 ? ['…'] : []), ...lines.slice(30).slice(-30)].join('\n')
}

/** `ms` that a stop may take: a container that has not ended 10 s after SIGTERM is killed. */
export async function stops(worker: Worker, ms = 10_000) {
  const asked = performance.now()
  worker.kill('SIGTERM')
  expect(await worker.end).toEqual({ code: 0, signal: null })
  expect(performance.now() - asked).toBeLessThan(ms)
}
export const said = (worker: Worker, text: string, ms = MINUTE) => waitFor(text, () => worker.text().includes(text), ms)
export async function readiness(worker: Worker) {
  const [, url] = (await waitFor('the page', () => /status page: (http:\S+)\//.exec(worker.text())))!
  return fetch(`${url}/readyz`)
}
export const SCORED = '"msg":"scored '

/** Every row but the `excused` is recorded, and nothing twice; every fraud of them is mailed, at most `repeats` again. */
export async function expectWhole(
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

export const linesOf = (worker: Worker) =>
  worker
    .text()
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as { time: string; level: string; stage?: string; msg: string })
