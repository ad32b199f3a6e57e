import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { maskCards } from '../card.ts'
import { anyOf } from '../io/abort.ts'
import { Refusal } from '../io/errors.ts'
import { grouped } from '../io/text.ts'
import { recordStage } from '../record/record.ts'
import type { Store } from '../record/store.ts'
import type { Model } from '../score/mlflow.ts'
import { scoreStage } from '../score/score.ts'
import type { Topics } from '../topic/topic.ts'
import { type DeadLetter, identity, type Prediction, type Transaction } from '../transaction.ts'
import { comparedLines, type Judged, type Judging } from './compared.ts'
import { historyOf } from './history.ts'
import type { Output } from './output.ts'
import { checkOffsets, rangeReader, readRange } from './range.ts'

/** rows set aside that are listed */
const LISTED = 20

export type ReplayOptions = {
  topics: Topics
  /** an offset, or a time, of `fetched_at` for a transaction, of `predicted_at` for a prediction */
  from?: string | undefined
  to?: string | undefined
  log: Logger
  stop: AbortSignal
  batchSize: number
} & (
  | { stage: 'record'; store: Store }
  /** `name` is stamped on every prediction */
  | ({ stage: 'score'; model: Model; name: string | null; sink: Output; source?: Source } & Judging)
)
/** Where the transactions are taken from: the database has them for longer than the topic. */
export type Source = 'topics' | 'database'

/**
 * Does the work of a stage again, over a range of its topic: writes predictions into the database, where those that are
 * there stay as they are; or has a model judge transactions into a place of its own, and compares. Nothing is mailed,
 * and nothing written to the topics. Outages are waited for as the worker does. Resolves with lines for a person, and how
 * many rows are left: set aside here, or after the stop. Remembers the identity of every row that it judges, 150 bytes.
 */
export async function replay(options: ReplayOptions): Promise<{ lines: string[]; left: number }> {
  const { topics, from, to, log, stop, batchSize } = options
  const range = readRange(from, to)
  const source = options.stage === 'score' && options.source === 'database' && historyOf(options.reviews, range)
  if (!source) await checkOffsets(topics, options.stage === 'record' ? 'predictions' : 'transactions', range)
  const end = new AbortController()
  const stage = { log, stop: anyOf(stop, end.signal) }
  const sink = counted(options.stage === 'record' ? options.store : options.sink)
  const aside: string[] = []
  const judged: Judged = { said: new Map(), first: Number.POSITIVE_INFINITY, last: Number.NEGATIVE_INFINITY }
  let passed = 0

  function setAside(id: string, { trans_num }: Transaction, reason: string) {
    aside.push(`set aside: ${id} (${maskCards(trans_num)}): ${maskCards(reason)}`)
  }
  async function done(entries: readonly { id: string; record: Transaction }[], letters: readonly unknown[] = []) {
    for (const letter of letters) setAside(entries[0]!.id, entries[0]!.record, (letter as DeadLetter).reason)
    passed += entries.length
  }
  /** Those that the place refuses, one by one. */
  async function keep(entries: readonly { id: string; record: Transaction }[], predictions: readonly Prediction[]) {
    try {
      await sink.insert(predictions)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      if (predictions.length > 1) {
        for (const [i, prediction] of predictions.entries()) await keep([entries[i]!], [prediction])
        return
      }
      setAside(entries[0]!.id, entries[0]!.record, error.message)
      return
    }
    for (const p of predictions) {
      judged.said.set(identity(p), p.prediction)
      judged.first = Math.min(judged.first, p.event_time)
      judged.last = Math.max(judged.last, p.event_time)
    }
  }
  const ended = () => end.abort(new Error('nothing is left'))
  let next: () => string | undefined
  if (options.stage === 'record') {
    const reader = rangeReader(
      topics,
      'predictions',
      range,
      (p) => p.predicted_at,
      (entries, writes) => done(entries, writes['dead-letters']),
      ended,
    )
    next = reader.next
    await recordStage(stage, { reader, store: { ...options.store, insert: sink.insert }, batchSize })
  } else {
    const reader = rangeReader(
      source || topics,
      'transactions',
      range,
      source ? (t) => t.event_time : (t) => t.fetched_at,
      async (entries, writes) => {
        await keep(entries, writes.predictions ?? [])
        await done(entries, writes['dead-letters'])
      },
      ended,
    )
    next = reader.next
    await scoreStage(stage, { reader, judge: async () => ({ model: options.model, name: options.name }), batchSize })
  }

  const stopped = !end.signal.aborted
  const rows = `${grouped(passed)} ${options.stage === 'record' ? 'predictions' : 'transactions'}`
  const lines = [
    `${rows}: ${grouped(sink.written())} written, ${grouped(passed - aside.length - sink.written())} there already, ${grouped(aside.length)} set aside`,
    ...aside.slice(0, LISTED),
    ...(aside.length > LISTED ? [`and ${grouped(aside.length - LISTED)} more`] : []),
  ]
  if (stopped) lines.push(`stopped before the end; ${goOn(next(), passed)}`)
  else if (options.stage === 'score') lines.push(...(await comparedLines(topics, judged, options.name, options)))
  return { lines, left: aside.length + (stopped ? 1 : 0) }
}

const goOn = (next: string | undefined, passed: number) =>
  next !== undefined
    ? `go on with --from ${next}`
    : passed === 0
      ? 'nothing was done'
      : 'begin again, what is there stays as it is' // partitions are read one after the other

/** Counts what was not there before; and leaves the database to others for as long as it has taken it. */
function counted(sink: Output) {
  let written = 0
  return {
    written: () => written,
    async insert(rows: readonly Prediction[]) {
      const began = performance.now()
      const fresh = new Set((await sink.missing(rows)).map(identity)).size
      await sink.insert(rows)
      written += fresh
      if (!sink.alone) await sleep(performance.now() - began)
    },
  }
}
