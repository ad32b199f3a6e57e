import { maskCards } from '../card.ts'
import { anyOf } from '../io/abort.ts'
import { isBug, reason } from '../io/errors.ts'
import { type Json, parse } from '../io/json.ts'
import type { DeadLetter, Prediction, Transaction } from '../transaction.ts'

/** A dead letter that was put back, or discarded: it stays in the log, crossed out by its id. */
export type Retried = { retried: string; at: number }

/** What each topic holds. */
export type Records = {
  transactions: Transaction
  predictions: Prediction
  'dead-letters': DeadLetter | Retried
}
export type TopicName = keyof Records
/** Records for one topic or several, durable together. */
export type Writes = { readonly [T in TopicName]?: readonly Records[T][] }
/** A field that any engine's own JSON reads without losing a digit. */
export type Brief = Exclude<keyof Prediction, 'cc_num'>
/** Small values that outlive the process, by key; JSON. The last one wins, and null forgets the key. */
export type Notes = { readonly [key: string]: unknown }

/**
 * Who reads what. A record is kept until every reader of its topic has passed it; without readers, for ever.
 */
export const READERS = {
  transactions: ['score', 'shadow'],
  predictions: ['alert', 'webhook', 'record'],
  'dead-letters': [],
} as const satisfies { [T in TopicName]: readonly string[] }
export type ReaderName = (typeof READERS)[TopicName][number]
export const TOPICS = Object.keys(READERS) as TopicName[]

/** Work outside the topics that one process does at a time: calling the producer at its rate, telling people, trying a challenger. */
export type LeaseName = 'fetch' | 'alert' | 'webhook' | 'shadow'

/**
 * The durable, ordered logs of one worker, or of several processes that share its settings. Every named reader sees
 * every record at least once, in order, from where it left off, whatever happens to a process in between.
 */
export type Topics = {
  /** Resolves once all of the records and notes are durable; on failure none of them is there. */
  append(writes: Writes, notes?: Notes): Promise<void>
  /** Begins after what was committed. While another process reads under this name, it stands by. */
  reader<T extends TopicName>(topic: T, name: (typeof READERS)[T][number]): Reader<Records[T]>
  /**
   * Runs `work` while this process leads under the name, and again each time it comes to lead anew: another one may have
   * worked, and noted, in between. Meanwhile the others stand by. Resolves when the work ends by itself; rejects with
   * the reason when stopped before it leads, and when nobody can tell who leads.
   */
  lead(name: LeaseName, stop: AbortSignal, work: (lease: Lease) => Promise<void>): Promise<void>
  /**
   * Everything a topic still holds, oldest first, without a position. `id` is stable and names the record. Where only some
   * `fields` are wanted, the others may be missing.
   */
  scan<T extends TopicName>(topic: T, fields?: readonly Brief[]): AsyncIterable<{ id: string; record: Records[T] }>
  /**
   * The last of what was noted under each key that begins so, as it was at one moment; with `exact`, under that key alone,
   * which costs little, however often it is asked for.
   */
  state(key: string, which?: { exact?: boolean }): Promise<Map<string, unknown>>
  /** Where every reader is, of whichever process: at one moment, as far as the engine knows one. */
  snapshot(): Promise<Snapshot>
  /**
   * Removes what was appended before then (ms since 1970) and every reader has passed, but for those that nobody has a use
   * for. What no reader reads stays; but of dead letters those that were put back or crossed out before then may go, with
   * what crosses them out.
   */
  trim(before: number, unused?: readonly ReaderName[]): Promise<void>
  close(): Promise<void>
}

/** One term of leadership. What was read in it under the same name is committed in it or not at all. */
export type Lease = {
  /** Aborted when another process has come to lead, at the latest when a note is refused: what is under way is cut short. */
  lost: AbortSignal
  /** Aborted then, and when the work is to stop. */
  stop: AbortSignal
  /**
   * Resolves once the notes are durable; without any, once it is certain that this process leads. Once another one does
   * it rejects with the reason of `lost`, and nothing is noted, whenever that is found out.
   */
  note(notes: Notes): Promise<void>
  /**
   * To be waited for before something is done outside that must not be done twice: settles as what was `noted` for it
   * does. At once where no other process can come to lead: there nobody else would do it.
   */
  prove(noted: Promise<void>): Promise<void>
}

export type Reader<T> = {
  /**
   * The next records, at most `limit`, and not many more bytes than BATCH_BYTES, but one at least: what waits at once, or as soon as there is one. Reads on from the last read,
   * not from the position. Rejects with the signal's reason when it is aborted.
   */
  read(limit: number, signal: AbortSignal): Promise<Batch<T>>
  /** Moves the position past all that is there, and notes, in one. */
  seekToEnd(notes: Notes): Promise<void>
  /** The next read begins at the position again: it repeats what was read and not committed, and may add to it. */
  rewind(): void
}

export type Snapshot = {
  /** By reader: how many records are after its position, and when the oldest of them was appended, in ms since 1970. */
  lag: { readonly [R in ReaderName]: { readonly records: number; readonly oldest?: number | undefined } }
  /** Is any record, by its id, before the position of the reader? */
  passed(reader: ReaderName, id: string): boolean
}

export type Batch<T> = {
  readonly records: readonly T[]
  /**
   * Moves the position past the next `count` records of this batch, once their work is done. Batches are committed
   * in the order they were read. Records appended and notes given here become durable together with the position:
   * all or nothing. Is never cancelled; when it rejects, nothing has moved and it may be called again, unless it is with
   * TakenOver. Without records and notes (none, not even no notes) it may wait a moment for another commit to go with.
   */
  commit(count: number, writes?: Writes, notes?: Notes): Promise<void>
}

/** bytes of records after which no other one comes into a batch: so no batch is too large for a memory, or a request */
export const BATCH_BYTES = 8 * 2 ** 20

/** The texts in portions that one statement may hold. */
export function* portions(texts: readonly string[], most = BATCH_BYTES / 2): Generator<string[]> {
  let some: string[] = []
  let size = 0
  for (const text of texts) {
    if (size >= most) {
      yield some
      ;[some, size] = [[], 0]
    }
    some.push(text)
    size += text.length
  }
  if (some.length > 0) yield some
}

/** Told when a process begins to stand by, and when it does no longer. */
export type Standby = (name: ReaderName | LeaseName, standing: boolean) => void

/** `lead` for several processes: a term from `begin` after the other, `watch` finds out while the work is done that it is over. */
export async function termAfterTerm<T extends Pick<Lease, 'lost' | 'note'>>(
  stop: AbortSignal,
  work: (lease: Lease) => Promise<void>,
  begin: () => Promise<T>,
  watch?: (term: T, stop: AbortSignal) => Promise<void>,
): Promise<void> {
  for (;;) {
    const term = await begin()
    const ended = new AbortController()
    void watch?.(term, anyOf(term.lost, ended.signal))
    try {
      await work({ prove: (noted) => noted, ...term, stop: anyOf(stop, term.lost) })
      if (!term.lost.aborted) return
    } catch (error) {
      if (isBug(error) || !term.lost.aborted) throw error
    } finally {
      ended.abort()
    }
  }
}

/** For readers of this process that wait for something to be appended. */
export function openArrivals() {
  const waiting = new Set<() => void>()
  return {
    announce() {
      for (const wake of waiting) wake()
    },
    /** Resolves at the next announcement, when aborted, or after `ms`: another process may have appended. */
    wait(ms: number, signal: AbortSignal): Promise<void> {
      return new Promise((resolve) => {
        const wake = () => {
          clearTimeout(timer)
          signal.removeEventListener('abort', wake)
          waiting.delete(wake)
          resolve()
        }
        const timer = setTimeout(wake, ms)
        signal.addEventListener('abort', wake)
        waiting.add(wake)
      })
    },
  }
}

/** A record as it is stored, read again. A card number is a bigint however short it is. */
export function decode<T extends TopicName>(text: string): Records[T] {
  let record: { cc_num?: Json }
  try {
    record = parse(text) as typeof record
  } catch (error) {
    const [, name = 'unknown'] = /"trans_num":"([^"]{1,64})/.exec(text) ?? []
    // No bug of ours, which would end the worker: what it was kept in is damaged.
    throw new Error(
      `the stored record of transaction ${maskCards(name)} is damaged (${reason(error)}): restore a backup (docs/operate.md)`,
    )
  }
  if (typeof record.cc_num === 'number') record.cc_num = BigInt(record.cc_num)
  return record as unknown as Records[T]
}

/** A note as it is stored, read again. */
export function decodeNote(key: string, text: string): Json {
  try {
    return parse(text)
  } catch (error) {
    throw new Error(
      `what was noted as ${maskCards(key)} is damaged (${reason(error)}): restore a backup (docs/operate.md)`,
    )
  }
}
