import { orAborted } from '../../run/loop.ts'
import {
  BATCH_BYTES,
  type Batch,
  decode,
  type Notes,
  type openArrivals,
  type Reader,
  type ReaderName,
  type Records,
  type TopicName,
  type Writes,
} from '../../topic/topic.ts'
import type { Query } from './client.ts'
import type { openLock, Term } from './lock.ts'

/** ms after which a reader looks by itself, were it not told of new records */
const LOOK_AGAIN = 1000

type Shared = {
  /** One transaction: all or nothing, durable when it resolves; `position` moves it, or refuses. */
  write(writes: Writes, notes: Notes, position: (query: Query) => Promise<void>): Promise<void>
  ask: Query
  arrivals: ReturnType<typeof openArrivals>
  news(): number
}

/** Reads while this process holds the lock; `news` grows with each announcement. */
export function postgresReader<T extends TopicName>(
  { write, ask, arrivals, news }: Shared,
  { hold, move }: Pick<ReturnType<typeof openLock>, 'hold' | 'move'>,
  topic: T,
  name: ReaderName,
): Reader<Records[T]> {
  let term: Term | undefined // of the last read
  let cursor: bigint | undefined // the end of the last read; undefined: the position
  const here = [topic, name]

  async function read(limit: number, signal: AbortSignal): Promise<Batch<Records[T]>> {
    for (;;) {
      const readIn = await hold(signal)
      if (readIn !== term) [term, cursor] = [readIn, undefined]
      const [from, heard] = [cursor, news()]
      const after =
        from === undefined ? '(SELECT "offset" FROM topics.position WHERE topic = $2 AND reader = $3)' : '$2'
      const rows = await orAborted(
        signal,
        ask(page(topic, after, '$1'), [limit, ...(from === undefined ? here : [from])]),
      )
      if (cursor !== from) continue // rewound meanwhile
      if (rows.length > 0) {
        cursor = rows.at(-1)!.offset as bigint
        return batch(rows as { offset: bigint; record: string }[], readIn)
      }
      if (news() === heard) await arrivals.wait(LOOK_AGAIN, signal)
    }
  }
  function batch(rows: { offset: bigint; record: string }[], readIn: Term): Batch<Records[T]> {
    let done = 0
    return {
      records: rows.map((row) => decode<T>(row.record)),
      async commit(count, writes = {}, notes = {}) {
        const last = rows[done + count - 1]
        if (count < 0 || (count > 0 && !last))
          throw new RangeError(`cannot commit ${count} of ${rows.length - done} records`)
        await write(writes, notes, move(count > 0 ? last!.offset : 0n, readIn))
        done += count
      },
    }
  }
  return {
    read,
    async seekToEnd(notes) {
      const term = await hold(new AbortController().signal)
      await write({}, notes, async (query) => move(await lastOf(query, topic), term)(query))
      cursor = undefined
    },
    rewind() {
      cursor = undefined
    },
  }
}

const lastOf = async (query: Query, topic: TopicName) =>
  (await query('SELECT "offset" FROM topics.last WHERE topic = $1', [topic]))[0]!.offset as bigint

/** The next records, as far as they go into a batch. */
export const page = (topic: TopicName, after: string, limit: string) => `
  SELECT "offset", record FROM (
    SELECT "offset", record, sum(octet_length(record)) OVER (ORDER BY "offset") - octet_length(record) AS before FROM (
      SELECT "offset", record::text FROM topics."${topic}" WHERE "offset" > ${after} ORDER BY "offset" LIMIT ${limit}
    ) AS next
  ) AS sized WHERE before < ${BATCH_BYTES} ORDER BY "offset"`
