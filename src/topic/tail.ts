import type { DatabaseSync } from 'node:sqlite'
import { known } from './text.ts'
import { BATCH_BYTES, type Brief, decode, type Records, type TopicName } from './topic.ts'

/** A record with where it stands. */
export type Placed<T> = { readonly offset: number; readonly record: T }

/** characters of records, as they are stored, that are kept at least once there are so many */
const KEPT = 2 * 2 ** 20

/**
 * The records that this process has appended last, without a gap: a reader that keeps up need not read and parse again what was
 * at hand a moment ago. What another process appends in between is not among them, and ends what went before it.
 */
export function openTail<T extends object>() {
  let kept: Placed<T>[] = []
  let sizes: number[] = []
  let total = 0
  return {
    /** They are durable, from offset `first` on. */
    add(first: number, fresh: readonly T[], texts: readonly string[]) {
      if (kept.length > 0 && kept.at(-1)!.offset + 1 !== first) [kept, sizes, total] = [[], [], 0]
      for (const [i, { length }] of texts.entries()) {
        known(fresh[i]!, texts[i]!)
        kept.push({ offset: first + i, record: fresh[i]! })
        sizes.push(length)
        total += length
      }
      if (total < 2 * KEPT) return
      let [old, gone] = [0, 0]
      while (total - gone > KEPT && old < kept.length - 1) gone += sizes[old++]!
      kept = kept.slice(old)
      sizes = sizes.slice(old)
      total -= gone
    },
    /** Is it the last one, as far as this process knows? */
    endsWith: (offset: number) => kept.at(-1)?.offset === offset,
    /** What comes after an offset, at most `limit`; nothing when the first of it is not kept. */
    after(offset: number, limit: number): Placed<T>[] {
      const from = offset + 1 - (kept[0]?.offset ?? Number.POSITIVE_INFINITY)
      return from >= 0 ? kept.slice(from, from + limit) : []
    },
  }
}

/** What this program has printed itself: of its numbers the engine cannot read a card's alone. */
function own<T extends TopicName>(text: string): Records[T] {
  try {
    const record = JSON.parse(text)
    const { cc_num: card } = record
    if (typeof card !== 'number') return decode<T>(text)
    record.cc_num = BigInt(Number.isSafeInteger(card) ? card : /"cc_num":(\d+)/.exec(text)![1]!)
    return record
  } catch {
    return decode<T>(text)
  }
}

/** The first of these rows, as far as they go into a batch. */
export function inOneBatch<T extends TopicName>(rows: Iterable<Placed<string>>): Placed<Records[T]>[] {
  const read: Placed<Records[T]>[] = []
  let bytes = 0
  for (const { offset, record } of rows) {
    read.push({ offset, record: known(own<T>(record), record) })
    bytes += record.length
    if (bytes >= BATCH_BYTES) break
  }
  return read
}

/** A page of which the file's engine reads no more than some fields; undefined where it cannot: a record may be damaged. */
export function briefly<T extends TopicName>(db: DatabaseSync, topic: T, fields: readonly Brief[]) {
  const wanted = fields.map((field) => `'${field}', record -> '${field}'`)
  const select = db.prepare(`SELECT json_group_array(json_object('offset', offset, 'record', json_object(${wanted})))
    FROM (SELECT offset, record FROM "${topic}" WHERE offset > ? ORDER BY offset LIMIT 1000)`)
  select.setReturnArrays(true)
  return (after: number): Placed<Records[T]>[] | undefined => {
    try {
      return JSON.parse((select.get(after) as unknown as [string])[0])
    } catch {}
  }
}
