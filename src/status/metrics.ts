import type { Registry as PromRegistry } from 'prom-client'
import type { Notifier } from '../alert/notifier.ts'
import { causeOf, Refusal } from '../io/errors.ts'
import type { Store } from '../record/store.ts'
import type { Batch, Reader, ReaderName, Records, TopicName, Topics, Writes } from '../topic/topic.ts'
import type { Prediction, Transaction } from '../transaction.ts'
import { VERSION } from '../version.ts'
import { Counter, Gauge, Histogram, Registry } from './prometheus.cjs'

/** seconds: from a local disk to a model server that loads its model first */
const CALL_BUCKETS = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 600]
/** seconds: from at once to after a long night */
const AGE_BUCKETS = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400]

/** What has passed since the process began. */
export type Totals = { [N in 'fetched' | 'scored' | 'flagged' | 'mailed' | 'recorded' | 'setAside']: number }

/** What passes, counted where it passes: the stages know nothing of it. Counts begin at 0 with the process. */
export function openMetrics() {
  const registry = new Registry()
  const { retries, notifications, calls, age, ...counted } = instruments(registry)
  const { fetched, scored, flagged, recorded, mailed, setAside } = counted
  for (const stage of ['fetch', 'score', 'record']) setAside.inc({ stage }, 0) // what is not there yet cannot rise
  mailed.inc({ channel: 'mail' }, 0)

  const aged = (stage: string, records: readonly Transaction[]) => {
    const [of, now] = [age.labels({ stage }), Date.now()]
    for (const { fetched_at } of records) of.observe(Math.max(0, now - fetched_at) / 1000)
  }
  function written({ transactions = [], predictions = [], 'dead-letters': aside = [] }: Writes) {
    fetched.inc(transactions.length)
    scored.inc(predictions.length)
    flagged.inc(predictions.filter(({ prediction }) => prediction === 1).length)
    for (const letter of aside) if ('stage' in letter) setAside.inc({ stage: letter.stage })
    aged('score', predictions)
  }
  function timed<A extends unknown[], R>(system: string, call: (...args: A) => Promise<R>) {
    return async (...args: A): Promise<R> => {
      const began = performance.now()
      let outcome = 'ok'
      try {
        return await call(...args)
      } catch (error) {
        outcome = error instanceof Refusal ? 'refused' : 'failed'
        throw error
      } finally {
        calls.observe({ system, outcome }, (performance.now() - began) / 1000)
      }
    }
  }
  function countedBatch<T>(name: ReaderName, batch: Batch<T>): Batch<T> {
    const commit = timed('topics', batch.commit)
    let done = 0
    return {
      records: batch.records,
      async commit(count, writes = {}, notes) {
        await commit(count, writes, notes)
        written(writes)
        const passed = batch.records.slice(done, done + count)
        done += count
        if (name !== 'record' || writes['dead-letters']) return
        recorded.inc(passed.length)
        aged('record', passed as unknown as Prediction[])
      },
    }
  }

  return {
    registry,
    /** All of it as Prometheus reads it, without 11 digits in a row: no float is as precise, and a label could be a card. */
    text: async () =>
      (await registry.metrics())
        .replace(/(?<= )\S+$/gm, (value) => (/\d{11}/.test(value) ? Number(value).toExponential(8) : value))
        .replace(/\d{11,}/g, (digits) => `…${digits.slice(-4)}`),
    timed,
    retried: (stage: string, error: unknown) => retries.inc({ stage, cause: causeOf(error) }),
    topics: (topics: Topics): Topics => ({
      ...topics,
      append: timed('topics', async (writes, notes) => {
        await topics.append(writes, notes)
        written(writes)
      }),
      reader<T extends TopicName>(topic: T, name: ReaderName): Reader<Records[T]> {
        const reader = topics.reader(topic, name as never)
        return { ...reader, read: async (limit, signal) => countedBatch(name, await reader.read(limit, signal)) }
      },
    }),
    notifier: (name: 'mail' | 'webhook', notifier: Notifier): Notifier => ({
      ...notifier,
      send: timed(name, async (notification, signal, only) => {
        const delivery = await notifier.send(notification, signal, only)
        if (only) return delivery // counted when the others got it
        const kind = notification.notice ? 'notice' : notification.frauds.length > 1 ? 'digest' : 'alarm'
        notifications.inc({ channel: name, kind })
        mailed.inc({ channel: name }, notification.frauds.length)
        if (name === 'mail') aged('alert', notification.frauds)
        return delivery
      }),
    }),
    store: (store: Store): Store => ({ ...store, insert: timed('database', store.insert) }),
    /** `mailed` is what went out by mail, not by webhook. */
    async totals(): Promise<Totals> {
      const sums = Object.entries(counted).map(async ([name, metric]) => {
        const { values } = (await metric.get()) as { values: { value: number; labels: { channel?: string } }[] }
        const own = values.filter(({ labels }) => labels.channel !== 'webhook')
        return [name, own.reduce((sum, { value }) => sum + value, 0)] as const
      })
      return Object.fromEntries(await Promise.all(sums)) as Totals
    },
    gauge: <L extends string>(name: string, help: string, labelNames: L[]) =>
      new Gauge({ name: `client_predict_${name}`, help, labelNames, registers: [registry] }),
  }
}

/** All that is counted and timed. */
function instruments(registry: PromRegistry) {
  const registers = [registry]
  const counter = <L extends string = never>(name: string, help: string, labelNames: L[] = []) =>
    new Counter({ name: `client_predict_${name}_total`, help, labelNames, registers })
  const timer = <L extends string>(name: string, help: string, labelNames: L[], buckets: number[]) =>
    new Histogram({ name: `client_predict_${name}_seconds`, help, labelNames, buckets, registers })
  const labelNames = ['version', 'node'] as const
  new Gauge({ name: 'client_predict_build_info', help: 'Which program runs; always 1', labelNames, registers }).set(
    { version: VERSION, node: process.versions.node },
    1,
  )
  return {
    fetched: counter('fetched', 'Transactions fetched and durable in the topics'),
    scored: counter('scored', 'Transactions that the model has judged'),
    flagged: counter('flagged', 'Transactions that the model takes for fraud'),
    recorded: counter('recorded', 'Predictions durable in the database'),
    mailed: counter('mailed', 'Frauds in notifications that were taken over', ['channel']),
    setAside: counter('set_aside', 'Records put into dead-letters', ['stage']),
    notifications: counter('notifications', 'Notifications that were taken over', ['channel', 'kind']),
    retries: counter('retries', 'Failures that are tried again', ['stage', 'cause']),
    calls: timer(
      'call_duration',
      'Calls to the systems outside, and commits to the topics',
      ['system', 'outcome'],
      CALL_BUCKETS,
    ),
    age: timer(
      'since_fetched',
      'From when a transaction reached us until it was scored, mailed (frauds) or recorded',
      ['stage'],
      AGE_BUCKETS,
    ),
  }
}
