import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { stringify } from '../../io/json.ts'
import {
  decode,
  decodeNote,
  type LeaseName,
  type Notes,
  openArrivals,
  portions,
  READERS,
  type ReaderName,
  type Standby,
  TOPICS,
  type TopicName,
  type Topics,
  termAfterTerm,
  type Writes,
} from '../../topic/topic.ts'
import { assertSessions, migrate, openPostgres, type Postgres, type Query } from './client.ts'
import { failing, openLock } from './lock.ts'
import { page, postgresReader } from './reader.ts'
import { openSession } from './session.ts'

/** records removed in one transaction */
const BITE = 1000
/** ms after which a reader looks by itself, were it not told of new records, and after which a process standing by asks */
const LOOK_AGAIN = 1000
/** at work at once: each stage, and a look from outside */
const CONNECTIONS = 6
/** ms that a server is given to say goodbye; what is still open then goes with the process */
const CLOSE_WITHIN = 1000

/**
 * Records are numbered under a lock on the row of their topic in `last`, held until the commit: so they become visible
 * in the order of their offsets, without a gap, whoever appends. `holder` is the process that may move a position.
 */
const MIGRATIONS = [
  `CREATE SCHEMA topics;
   ${TOPICS.map((topic) => `CREATE TABLE topics."${topic}" ("offset" bigint PRIMARY KEY, at bigint NOT NULL, record json NOT NULL)`).join(';')};
   CREATE TABLE topics.last (topic text PRIMARY KEY, "offset" bigint NOT NULL);
   INSERT INTO topics.last VALUES ${TOPICS.map((topic) => `('${topic}', 0)`)};
   CREATE TABLE topics.position (topic text, reader text, "offset" bigint NOT NULL, holder text, PRIMARY KEY (topic, reader));
   INSERT INTO topics.position VALUES ${TOPICS.flatMap((t) => READERS[t].map((r) => `('${t}', '${r}', 0)`))};
   CREATE TABLE topics.note (key text PRIMARY KEY, value json NOT NULL)`,
  `INSERT INTO topics.position VALUES ('predictions', 'webhook', 0) ON CONFLICT DO NOTHING`,
  `INSERT INTO topics.position VALUES ('transactions', 'shadow', 0) ON CONFLICT DO NOTHING`,
]

export type PostgresTopicsOptions = {
  url: URL
  log: Logger
  standby?: Standby | undefined
}

/**
 * Topics in the schema `topics` of a PostgreSQL database. Any number of processes may use them: each append and commit
 * is one transaction, and each reader is one process at a time, the one that holds its advisory lock. The lock goes with
 * the connection; the next in line takes over then, and what the one before still tries to commit is refused.
 */
export async function postgresTopics({ url, log, standby }: PostgresTopicsOptions): Promise<Topics> {
  const me = randomUUID()
  const db = openPostgres(url, { connections: CONNECTIONS, session: true, log })
  try {
    await assertSessions(db, url)
    await migrate(db, 'topics', MIGRATIONS)
  } catch (error) {
    await db.close()
    throw error
  }
  const arrivals = openArrivals()
  let news = 0
  const wakeAll = () => {
    news++
    arrivals.announce()
  }
  const session = openSession(db, wakeAll)
  const ask: Query = (text, values) => db.query(text, values).catch(failing('cannot read the topics'))

  const write = writer(db)

  const shared = { db, session, me, url, log, standby }
  const locks = new Map<string, ReturnType<typeof openLock>>()
  function lockOf(topic: TopicName | '', name: ReaderName | LeaseName) {
    const lock = locks.get(name) ?? openLock(shared, topic, name)
    locks.set(name, lock)
    return lock
  }

  async function lead(name: LeaseName, stop: AbortSignal, work: Parameters<Topics['lead']>[2]) {
    const { hold, move, look } = lockOf(name === 'fetch' ? '' : 'predictions', name)
    const begin = async () => {
      const term = await hold(stop)
      return { lost: term.signal, note: (notes: Notes) => write({}, notes, move(0n, term)) }
    }
    await termAfterTerm(stop, work, begin, async (_, over) => {
      while (!over.aborted) {
        await sleep(LOOK_AGAIN, undefined, { signal: over }).catch(() => {})
        if (!over.aborted)
          await hold(over)
            .then(look)
            .catch(() => {}) // an outage says nothing of it
      }
    })
  }

  const reader = <T extends TopicName>(topic: T, name: ReaderName) =>
    postgresReader({ write, ask, arrivals, news: () => news }, lockOf(topic, name), topic, name)

  return {
    append: (writes, notes = {}) => write(writes, notes),
    reader,
    lead,
    async *scan(topic) {
      for (let offset = 0n; ; ) {
        const rows = await ask(
          page(topic, '$1', topic === 'dead-letters' ? '100' : '1000'), // which may be large, and the server looks at all
          [offset],
        )
        if (rows.length === 0) return
        for (const row of rows) yield { id: String(row.offset), record: decode<typeof topic>(row.record as string) }
        offset = rows.at(-1)!.offset as bigint
      }
    },
    state: notesOf(ask),
    async snapshot() {
      const rows = (await ask(SNAPSHOT)) as {
        reader: ReaderName
        offset: bigint
        records: bigint
        oldest: bigint | null
      }[]
      const positions = new Map(rows.map(({ reader, offset }) => [reader, offset]))
      const lag = rows.map(({ reader, records, oldest }) => [
        reader,
        { records: Number(records), oldest: oldest === null ? undefined : Number(oldest) },
      ])
      return { lag: Object.fromEntries(lag), passed: (reader, id) => BigInt(id) <= positions.get(reader)! }
    },
    /** In small bites that block nobody for long. */
    trim: (before, unused = []) => trim(db.query, before, unused),
    async close() {
      await Promise.race([
        Promise.allSettled([session.close(), db.close()]),
        sleep(CLOSE_WITHIN, undefined, { ref: false }),
      ])
    },
  }
}

/** One transaction: all or nothing, durable when it resolves. `position` goes first: it tells whose turn it is. */
function writer(db: Postgres) {
  return async (writes: Writes, notes: Notes, position?: (query: Query) => Promise<void>) => {
    const appended = TOPICS.map((topic) => ({ topic, texts: (writes[topic] ?? []).map((record) => stringify(record)) }))
    const fresh = appended.filter(({ texts }) => texts.length > 0)
    const keys = Object.keys(notes)
    if (fresh.length === 0 && keys.length === 0 && !position) return
    const forgotten = keys.filter((key) => notes[key] === null)
    const noted = keys.filter((key) => notes[key] !== null)
    await db
      .transaction(async (query) => {
        await position?.(query)
        for (const { topic, texts } of fresh) {
          const [last] = await query(
            'UPDATE topics.last SET "offset" = "offset" + $2 WHERE topic = $1 RETURNING "offset" - $2 AS before',
            [topic, texts.length],
          )
          let before = last!.before as bigint
          for (const some of portions(texts)) {
            await query(
              `INSERT INTO topics."${topic}" SELECT $1 + n, $2, text::json FROM unnest($3::text[]) WITH ORDINALITY AS new (text, n)`,
              [before, Date.now(), some],
            )
            before += BigInt(some.length)
          }
        }
        if (forgotten.length > 0) await query('DELETE FROM topics.note WHERE key = ANY ($1)', [forgotten])
        if (noted.length > 0)
          await query(
            `INSERT INTO topics.note SELECT key, value::json FROM unnest($1::text[], $2::text[]) AS new (key, value)
             ORDER BY key ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
            [noted, noted.map((key) => stringify(notes[key]))],
          )
        if (fresh.length > 0) await query('NOTIFY topics')
      })
      .catch(failing('cannot write the topics'))
  }
}

async function trim(query: Query, before: number, unused: readonly ReaderName[]) {
  for (const topic of TOPICS.filter((name) => READERS[name].length > 0))
    while ((await query(removal(topic), [before, topic, unused])).length === BITE);
  await query(REMOVE_CROSSED_OUT, [before])
}

/** A line that crosses a letter out is short: the others, which may be large, are not read. */
const REMOVE_CROSSED_OUT = `WITH crossing AS MATERIALIZED (
    SELECT "offset", (record ->> 'retried')::bigint AS letter FROM (
      SELECT "offset", record FROM topics."dead-letters" WHERE at < $1 AND pg_column_size(record) < 200 OFFSET 0) AS short
    WHERE record ->> 'retried' ~ '^[0-9]{1,18}$')
  DELETE FROM topics."dead-letters" WHERE "offset" IN (SELECT "offset" FROM crossing UNION ALL SELECT letter FROM crossing)`

const notesOf =
  (ask: Query): Topics['state'] =>
  async (key, { exact = false } = {}) => {
    const wanted = exact ? 'key = $1' : 'starts_with(key, $1)'
    const rows = await ask(`SELECT key, value::text FROM topics.note WHERE ${wanted} ORDER BY key`, [key])
    return new Map(rows.map(({ key, value }) => [key as string, decodeNote(key as string, value as string)]))
  }

/** One statement, one moment. What was removed before a reader came by does not wait for it. */
const SNAPSHOT = TOPICS.map(
  (topic) => `SELECT reader, p."offset",
      greatest(0, l."offset" - greatest(p."offset", coalesce((SELECT min("offset") FROM topics."${topic}") - 1, l."offset"))) AS records,
      (SELECT at FROM topics."${topic}" AS t WHERE t."offset" > p."offset" ORDER BY "offset" LIMIT 1) AS oldest
    FROM topics.position p JOIN topics.last l USING (topic) WHERE topic = '${topic}'`,
).join(' UNION ALL ')

const removal = (topic: TopicName) =>
  `DELETE FROM topics."${topic}" WHERE "offset" IN (
     SELECT "offset" FROM (SELECT "offset", at FROM topics."${topic}" ORDER BY "offset" LIMIT ${BITE}) AS oldest
     WHERE at < $1 AND "offset" <= (
       SELECT min("offset") FROM topics.position WHERE topic = $2 AND reader <> ALL ($3))) RETURNING 1`
