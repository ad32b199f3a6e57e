import type { Logger } from 'pino'
import { Outage } from './stage.ts'
import type { Batch, Writes } from './topic/topic.ts'
import { type DeadLetter, maskCards } from './transaction.ts'

/** The other side answered, and said no to these records. Any other error is an outage and says nothing of them. */
export class Refusal extends Error {}

/** So many records refused alone, one after the other, are no chance: the other side may be down for all of them. */
const SUSPICIOUS = 4

/**
 * So many records, in order, that are tried together. `twin`: the second half of a refused part whose first half is
 * being tried; once that is accepted as a whole this one is `hopeless`, and halved without being tried.
 */
type Part = { size: number; twin?: boolean; hopeless?: boolean }

export type Isolation<T> = {
  stage: DeadLetter['stage']
  /** the other side, for messages */
  who: string
  log: Logger
  /** Tries records together. Resolves with what becomes durable together with the position. */
  attempt(records: readonly T[]): Promise<Writes>
  /** Told of records that were accepted, once that is committed. */
  accepted(records: readonly T[], writes: Writes): void
}

/**
 * Work on a batch that takes bad records out of it. A refused part is halved, each half tried on its own, until the
 * bad record stands alone; then the position moves past it and it is set aside with the reason. What was done stays
 * done: parts are committed as they are accepted, in order, and an outage in between costs only the part in hand. One
 * bad record in 2^n costs at most n + 5 attempts.
 *
 * A refusal proves a record bad only if the other side accepts another one after it, and then refuses this one again,
 * alone. If it accepts none, it is down: nothing is set aside, and an Outage is thrown.
 */
export function isolate<T>({ stage, who, log, attempt, accepted }: Isolation<T>) {
  let canary: T | undefined // the record accepted last, in this batch or an earlier one
  let rounds = 0 // in which everything was refused, in a row
  let parts: Part[] = [] // what is known of the records after the position

  return async (batch: Batch<T>): Promise<void> => {
    const { records } = batch
    const suspects: { record: T; refusal: Refusal }[] = [] // refused alone, and nothing accepted since
    let at = 0 // the first record of the part in hand
    parts = arrange(parts, records.length)
    try {
      if (rounds > 0) await probe()
      while (parts.length > 0) await tryNext(parts[0]!)
      if (suspects.length > 0) await convict()
    } catch (error) {
      // Who was refused before the outage may be accepted after it.
      parts.unshift(...suspects.map(() => ({ size: 1 })))
      if (error instanceof Down) parts = []
      throw error
    }

    async function tryNext({ size, hopeless }: Part) {
      const part = records.slice(at, at + size)
      const outcome = hopeless && size > 1 ? undefined : await tried(part)
      if (outcome && !(outcome instanceof Refusal)) {
        await accept(part, outcome)
        parts.shift()
        if (parts[0]?.twin) parts[0].hopeless = true
        at += size
        return
      }
      parts.shift()
      if (parts[0]?.twin) parts[0].twin = false
      if (outcome && size === 1) {
        suspects.push({ record: part[0]!, refusal: outcome })
        at++
        if (suspects.length >= SUSPICIOUS) await convict()
      } else {
        const half = Math.ceil(size / 2)
        parts.unshift({ size: half }, { size: size - half, twin: true })
      }
    }

    async function accept(part: readonly T[], writes: Writes) {
      canary = part.at(-1)
      rounds = 0
      if (suspects.length > 0) {
        await judge()
        // They are why the whole was refused, most likely: the rest together again, which saves more than this cost.
        const [inHand, ...rest] = parts
        const size = rest.reduce((sum, other) => sum + other.size, 0)
        if (inHand && size > 0) parts = [inHand, { size }]
      }
      await commit(part, writes)
    }

    async function commit(part: readonly T[], writes: Writes) {
      await batch.commit(part.length, writes)
      accepted(part, writes)
    }

    async function setAside(record: T, refusal: Refusal) {
      const reason = maskCards(refusal.message)
      await batch.commit(1, { 'dead-letters': [{ stage, at: Date.now(), reason, record }] })
      log.warn(`a record is set aside: ${reason}`)
    }

    function down(cause: Refusal) {
      rounds++
      return new Down(`${who} refuses everything`, { cause, alone: records.length === 1 })
    }

    /** Is another record accepted now? Then those refused while it may have been down get a second chance, alone. */
    async function convict() {
      const { refusal } = suspects[0]!
      if (canary === undefined || (await tried([canary])) instanceof Refusal) throw down(refusal)
      await judge()
    }

    /** Another record was accepted just now: those refused alone before get a second chance. */
    async function judge() {
      for (let next = suspects[0]; next; next = suspects[0]) {
        const outcome = await tried([next.record])
        if (outcome instanceof Refusal) await setAside(next.record, outcome)
        else await commit([next.record], outcome)
        suspects.shift()
      }
    }

    /** Everything was refused before: the whole, then one record tell whether it still is, before taking it apart. */
    async function probe() {
      const outcome = await tried(records)
      if (!(outcome instanceof Refusal)) {
        await accept(records, outcome)
        parts = []
        return
      }
      // Not always the canary: a new model may refuse just that one.
      const pool = canary === undefined ? records : [...records, canary]
      const record = pool.at(-rounds % pool.length)!
      if ((await tried([record])) instanceof Refusal) throw down(outcome)
      canary = record
      rounds = 0
    }
  }

  async function tried(part: readonly T[]): Promise<Writes | Refusal> {
    try {
      return await attempt(part)
    } catch (error) {
      if (error instanceof Refusal) return error
      throw error
    }
  }
}

/** Refused everything, so far: nothing that was learned of single records counts. */
class Down extends Outage {}

/** The parts for so many records: those known, cut or with the rest behind them. */
function arrange(known: readonly Part[], length: number): Part[] {
  const parts: Part[] = []
  let left = length
  for (const part of known) {
    if (part.size > left) break
    parts.push(part)
    left -= part.size
  }
  if (left > 0) parts.push({ size: left })
  return parts
}
