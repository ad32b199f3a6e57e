import { setTimeout as sleep } from 'node:timers/promises'
import { deservesMail } from '../alert/notifier.ts'
import { alarmRows } from '../alert/old-note.ts'
import { whereabouts } from '../alert/outbox.ts'
import { openRows } from '../alert/rows.ts'
import { DAY, HOUR } from '../io/time.ts'
import type { Store } from '../record/store.ts'
import type { Topics } from '../topic/topic.ts'
import { identity, type Key, type Prediction } from '../transaction.ts'
import { type Figures, type Row, statement } from './statement.ts'

/** ms before its age lets a transaction go, from which on its prediction may be gone already */
const MARGIN = HOUR
/** ms that a fraud may wait without a reason */
const OVERDUE = HOUR
/** ms until what seems wrong is looked at again: a commit of Kafka may not have got around yet */
const AGAIN = 1000
/** rows that the database is asked for at once */
const ASKED = 500
/** What is looked at of a transaction, and of a prediction. */
const FETCHED = ['trans_num', 'event_time', 'fetched_at'] as const
const PREDICTED = ['trans_num', 'event_time', 'predicted_at', 'prediction'] as const
type Predicted = { id: string; record: Pick<Prediction, (typeof PREDICTED)[number]> }

export type AuditOptions = {
  topics: Topics
  store: Store
  retentionDays: number
  now?: () => number
}

/** Rows by identity, which may repeat. */
type Rows = Map<string, Row[]>

/**
 * Accounts for every transaction, prediction and fraud that the topics still hold, beside the running worker. Positions
 * are taken first, then the rows of the mails: what is before them was done by then, what is after them waits. What seems
 * wrong is looked at again, with the same positions. Resolves with lines for a person, and whether the account holds.
 */
export async function audit(options: AuditOptions): Promise<{ lines: string[]; holds: boolean }> {
  const at = await positions(options.topics)
  let found = await look(options, at)
  if (found.unpredicted.length + found.unrecorded.length > 0) {
    await sleep(AGAIN)
    found = await look(options, at)
  }
  return statement(found, at.alarms)
}

type Positions = Awaited<ReturnType<typeof positions>>
async function positions(topics: Topics) {
  const { passed } = await topics.snapshot()
  const { found } = await alarmRows(topics, 'alert')
  return { passed, alarms: whereabouts(openRows('alert/', found)) }
}

/** Walks both topics side by side: what finds no partner is kept in memory, some 300 bytes each. */
async function look({ topics, store, retentionDays, now = Date.now }: AuditOptions, at: Positions): Promise<Figures> {
  const n = { fetched: 0, toScore: 0, predictions: 0, toRecord: 0, frauds: 0, toMail: 0 }
  let since = Number.POSITIVE_INFINITY
  const unpredicted: Rows = new Map()
  const unpaired = new Map<string, number>() // predictions whose transaction has not come by
  const unrecorded: Rows = new Map()
  const overdue: (Row & { name: string })[] = []
  let asking: Predicted[] = []
  const isMailed = mailed(at)
  const waits = (id: string, fraud: Predicted['record']) => {
    const { trans_num, predicted_at: at } = fraud
    if (at < now() - OVERDUE) overdue.push({ id, trans_num, at, name: identity(fraud) })
  }

  async function ask() {
    const missing = new Set(await store.missing(asking.map(({ record }) => record)))
    for (const { id, record } of asking) if (missing.has(record)) put(unrecorded, id, record, record.predicted_at)
    asking = []
  }
  const predictions: AsyncIterator<Predicted> = topics.scan('predictions', PREDICTED)[Symbol.asyncIterator]()
  async function next(): Promise<boolean> {
    const { value, done } = await predictions.next()
    if (done) return false
    const { id, record } = value
    n.predictions++
    const name = identity(record)
    if (!take(unpredicted, name)) unpaired.set(name, (unpaired.get(name) ?? 0) + 1)
    if (deservesMail(record)) {
      n.frauds++
      if (!isMailed(id, name)) {
        n.toMail++
        waits(id, record)
      }
    }
    if (!at.passed('record', id)) n.toRecord++
    else if (asking.push(value) === ASKED) await ask()
    return true
  }
  for await (const { id, record } of topics.scan('transactions', FETCHED)) {
    n.fetched++
    since = Math.min(since, record.fetched_at)
    if (!at.passed('score', id)) {
      n.toScore++
      continue
    }
    const name = identity(record)
    const there = unpaired.get(name) ?? 0
    if (there === 0) put(unpredicted, id, record, record.fetched_at)
    else if (there === 1) unpaired.delete(name)
    else unpaired.set(name, there - 1)
    await next()
  }
  while (await next());
  await ask()

  const aside = { score: 0, record: 0 }
  if (unpredicted.size + unrecorded.size > 0)
    for await (const { record: letter } of topics.scan('dead-letters')) {
      if ('retried' in letter || letter.stage === 'fetch') continue // what was put back is another record, or in the database
      const name = identity(letter.record as Key)
      if (take(letter.stage === 'score' ? unpredicted : unrecorded, name)) aside[letter.stage]++
    }
  const edge = now() - retentionDays * DAY + MARGIN
  const all = [...unpredicted.values()].flat()
  const lost = all.filter((row) => row.at > edge)
  n.fetched -= all.length - lost.length
  const gone = isMailed.rest()
  for (const fraud of gone) waits('', fraud)
  return {
    ...n,
    frauds: n.frauds + gone.length,
    toMail: n.toMail + gone.length,
    since,
    aside,
    overdue,
    unpredicted: lost,
    unrecorded: [...unrecorded.values()].flat(),
  }
}

/** Tells of each fraud whether it is mailed; `rest`: those that wait and are no longer in the topic. */
function mailed({ passed, alarms: { waiting, wasSent } }: Positions) {
  const gone = new Map(waiting)
  const is = (id: string, name: string) => {
    gone.delete(name)
    return !waiting.has(name) && (passed('alert', id) || wasSent(name))
  }
  return Object.assign(is, { rest: () => [...gone.values()] })
}

function put(rows: Rows, id: string, record: Key, at: number) {
  const row = { id, trans_num: record.trans_num, at }
  const same = rows.get(identity(record))
  if (same) same.push(row)
  else rows.set(identity(record), [row])
}
function take(rows: Rows, name: string): boolean {
  const same = rows.get(name)
  if (!same) return false
  same.shift()
  if (same.length === 0) rows.delete(name)
  return true
}
