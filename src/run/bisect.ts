import type { Logger } from 'pino'
import { maskCards } from '../card.ts'
import { Outage, Refusal } from '../io/errors.ts'
import type { Batch, Writes } from '../topic/topic.ts'
import { type DeadLetter, identity, type Transaction } from '../transaction.ts'

/** So many records refused alone, one after the other, are no chance: the other side may be down for all of them. */
const SUSPICIOUS = 4
/** Attempts that one bad record costs where nothing else fails. */
const BUDGET = 20
/** Where more fails: tosses of the coin at least, of a batch together, and for each record. */
const TOSSES = 20
const LEAST = 7
/** ms for which the other side is watched closely after it was caught refusing what it also accepts. */
const WATCHED = 3_600_000
/** Odds against a side that refuses at random, before a record is set aside while it is watched. */
const ODDS = Math.log(1e9)
/** So many refusals in a row, while the record accepted last is among them: it is down. */
const DOWN = 12

/**
 * So many records, in order, that are tried together. `twin`: the second half of a refused part whose first half is
 * being tried; once that is accepted as a whole this one is `hopeless`, and halved without being tried.
 */
type Part = { size: number; twin?: boolean; hopeless?: boolean }

/** `refusal`: known, unless everything was refused since. */
type Trial = { right: number; wrong: number; refusal?: Refusal | undefined }

export type Isolation<T> = {
  stage: DeadLetter['stage']
  /** the other side, for messages */
  who: string
  log: Logger
  /** Tries records together. Resolves with what becomes durable together with the position. */
  attempt(records: readonly T[]): Promise<Writes>
  /** Told of a record that is set aside, once that is durable: a line each, unless it is said otherwise. */
  said?: (reason: string) => void
  /** Told of records that were accepted, once that is committed. */
  accepted(records: readonly T[], writes: Writes): void
  /** a coin, from 0 to 1 */
  random?: () => number
  now?: () => number
}

/**
 * Work on a batch that takes bad records out of it. A refused part is halved, each half tried on its own, until the
 * bad record stands alone; then the position moves past it and it is set aside with the reason. What was done stays
 * done: parts are committed as they are accepted, in order, and an outage in between costs only the part in hand.
 *
 * A refusal proves nothing: the other side may refuse at random. So a record that was refused alone, and refused again
 * after another one was accepted, is tried by tosses of a coin: heads the record, tails the one accepted last. If it is
 * accepted once it is good. A side that refuses whatever it is asked, in whatever pattern, guesses each toss with
 * probability 1/2. Caught at that, within the last hour, it has a good record set aside with probability 1e-9 at most.
 * Before that one bad record in 512 is found within 20 attempts, if nothing else fails: who begins to refuse at random
 * just then passes for that about once in 2^10 times (whatever is asked: 512 ways to do so, of 2^20). If another record
 * is refused too, or the other side could not be asked, 20 tosses are asked for. If it accepts none, it is down: nothing
 * is set aside, and an Outage is thrown.
 */
export function isolate<T extends Pick<Transaction, 'trans_num' | 'event_time'>>({
  stage,
  who,
  log,
  attempt,
  accepted,
  said = (reason) => log.warn(`a record is set aside: ${reason}`),
  random = Math.random,
  now = Date.now,
}: Isolation<T>) {
  let canary: T | undefined // the record accepted last, in this batch or an earlier one
  let rounds = 0 // in which everything was refused, in a row
  let parts: Part[] = [] // what is known of the records after the position
  let caught = -Infinity // when the other side was last seen refusing what it also accepts
  let failed = -Infinity // when it could not be asked
  let spent = 0 // attempts since a batch began with no record on trial
  let tosses = 0 // of them, by the coin
  const onTrial = new Map<string, Trial>() // records that were refused alone and are not judged yet

  return async (batch: Batch<T>, answered = () => {}): Promise<void> => {
    const { records } = batch
    const suspects: { record: T; refusal: Refusal }[] = [] // refused alone, and nothing accepted since
    let at = 0 // the first record of the part in hand
    if (onTrial.size === 0 || rounds > 0) [spent, tosses] = [0, 0]
    parts = arrange(parts, records.length)
    try {
      if (rounds > 0) await probe()
      while (parts.length > 0) await tryNext(parts[0]!)
      if (suspects.length > 0) await convict()
    } catch (error) {
      // Who was refused before the outage may be accepted after it.
      parts.unshift(...suspects.map(() => ({ size: 1 })))
      if (error instanceof Down) {
        parts = []
        for (const trial of onTrial.values()) trial.refusal = undefined
      }
      throw error
    }

    async function tryNext({ size, hopeless }: Part) {
      const part = records.slice(at, at + size)
      const refused = size === 1 ? onTrial.get(identity(part[0]!))?.refusal : undefined
      const outcome = hopeless && size > 1 ? undefined : (refused ?? (await tried(part)))
      if (outcome && !(outcome instanceof Refusal)) {
        if (hopeless) caught = now() // all of a refused part is accepted
        await accept(part, outcome)
        parts.shift()
        if (parts[0]?.twin) parts[0].hopeless = true
        at += size
        return
      }
      parts.shift()
      if (parts[0]?.twin) parts[0].twin = false
      if (outcome && size === 1) {
        suspect(part[0]!, outcome)
        at++
        if (suspects.length >= SUSPICIOUS) await convict()
      } else {
        parts.unshift({ size: Math.ceil(size / 2) }, { size: Math.floor(size / 2), twin: true })
      }
    }

    function suspect(record: T, refusal: Refusal) {
      suspects.push({ record, refusal })
      onTrial.set(identity(record), { right: 0, wrong: 0, ...onTrial.get(identity(record)), refusal })
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
      if (onTrial.size > 0) for (const record of part) onTrial.delete(identity(record))
      if (!writes['dead-letters']) accepted(part, writes)
    }

    async function setAside(record: T, refusal: Refusal) {
      const reason = maskCards(refusal.message)
      await commit([record], { 'dead-letters': [{ stage, at: Date.now(), reason, record }] })
      said(reason)
    }

    function down(cause: Refusal) {
      rounds++
      return new Down(`${who} refuses everything`, { cause, alone: records.length === 1 })
    }

    /** Is another record accepted now? Then those refused while it may have been down get a second chance, alone. */
    async function convict() {
      const { refusal } = suspects[0]!
      if (canary === undefined) throw down(refusal)
      if (!((await tried([canary])) instanceof Refusal)) return judge()
      caught = now() // it was accepted before
      throw down(refusal)
    }

    /** Another record was accepted just now: those refused alone before get a second chance. */
    async function judge() {
      for (let next = suspects[0]; next; next = suspects[0]) {
        const outcome = await trial(next.record)
        if (outcome instanceof Refusal) await setAside(next.record, outcome)
        else await commit([next.record], outcome)
        suspects.shift()
      }
    }

    /** Resolves with its refusal once that is proven, or with what it has to be committed with. */
    async function trial(record: T): Promise<Writes | Refusal> {
      const seen = onTrial.get(identity(record)) ?? { right: 0, wrong: 0 }
      let refusal = await tried([record])
      let row = 1 // refusals one after the other
      const only = suspects.length === 1 && spent < BUDGET && now() - failed > WATCHED
      const enough = Math.max(LEAST, only ? BUDGET - spent - 1 : TOSSES - tosses)
      while (refusal instanceof Refusal) {
        if (now() - caught > WATCHED ? seen.wrong === 0 && seen.right >= enough : odds(seen) >= ODDS) return refusal
        const heads = random() < 0.5
        tosses++
        const outcome = await tried([heads ? record : canary!])
        const refused = outcome instanceof Refusal
        row = refused ? row + 1 : 0
        if (heads) refusal = outcome
        if (refused === heads) seen.right++
        else seen.wrong++
        if (refused !== heads) caught = now()
        if (row >= DOWN && seen.wrong > 0) throw down(refusal as Refusal)
      }
      caught = now()
      return refusal
    }

    async function tried(part: readonly T[]): Promise<Writes | Refusal> {
      spent++
      try {
        const writes = await attempt(part)
        answered()
        return writes
      } catch (error) {
        if (error instanceof Refusal) return error
        failed = now()
        throw error
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
}

/**
 * The logarithm of the odds for a record that is always refused, against a fair coin: a bet on each toss by what the
 * tosses before were (Laplace), which no fair coin lets win 1e9 times the stake but with probability 1e-9, ever.
 */
function odds({ right, wrong }: { right: number; wrong: number }): number {
  let log = (right + wrong) * Math.LN2 - Math.log(right + wrong + 1)
  for (let i = 1; i <= wrong; i++) log += Math.log(i / (right + i))
  return log
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
