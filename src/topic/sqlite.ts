import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate } from 'node:timers/promises'
import type { Logger } from 'pino'
import { FileFault } from '../io/errors.ts'
import { stringify } from '../io/json.ts'
import { assertWritable, failure, fileOf, isBusy, openSqlite, unopened } from '../io/sqlite.ts'
import { assertMark, assertWhole, guardFile } from '../io/sqlite-file.ts'
import type { Step } from '../io/sqlite-write.cjs'
import { directWriter, threadWriter, type Writer } from '../io/sqlite-writer.ts'
import { briefly, inOneBatch, openTail, type Placed } from './tail.ts'
import { textOf } from './text.ts'
import {
  type Batch,
  decodeNote,
  type Notes,
  openArrivals,
  READERS,
  type Reader,
  type ReaderName,
  type Records,
  TOPICS,
  type TopicName,
  type Topics,
  type Writes,
} from './topic.ts'

/** records removed in one transaction */
const BITE = 1000
/** How long a waiting reader may sleep through a record that another process appended, in ms. */
const LOOK_AGAIN = 1000

export type SqliteTopicsOptions = {
  path: string
  /** The worker holds the file alone; commands that only look, or put dead letters back, do not hold it. */
  exclusive?: boolean
  /** told what happens to the file while it is open */
  log?: Logger
}

/**
 * Topics in one SQLite file: a table a topic, its rowid the offset, never used twice. Each append and commit is one
 * transaction, on disk when it resolves (WAL, synchronous=FULL). Throws when another worker holds the file.
 */
export async function sqliteTopics({ path, exclusive = false, log }: SqliteTopicsOptions): Promise<Topics> {
  await using opening = new AsyncDisposableStack() // what is open closes again if the rest of the opening fails
  const lock = exclusive ? opening.use(hold(path)) : undefined
  if (!exclusive) assertThere(path)
  const db = openSqlite(path, STEPS, 'position')
  opening.defer(() => void (db.isOpen && db.close()))
  assertMark(path, heldBy(db))
  if (exclusive) assertWhole(db, path)
  const guard = exclusive ? guardFile(db, path, () => heldBy(db), log, [lock!.location()!]) : undefined
  if (guard) opening.defer(guard.close)
  const writer = opening.adopt(exclusive ? threadWriter(path) : directWriter(db), (w) => w.close())
  const select = each((topic) =>
    db.prepare(`SELECT offset, record FROM "${topic}" WHERE offset > ? ORDER BY offset LIMIT ?`),
  )
  // Offsets have no gaps: what is removed is the oldest. So nothing is counted one by one, however much waits.
  const lagOf = each((topic) =>
    db.prepare(`SELECT max(0, seq - max(offset, coalesce((SELECT min(offset) FROM "${topic}"), seq + 1) - 1)) AS records,
        (SELECT at FROM "${topic}" AS t WHERE t.offset > position.offset ORDER BY offset LIMIT 1) AS oldest, offset
      FROM position LEFT JOIN (SELECT seq FROM sqlite_sequence WHERE name = '${topic}')
      WHERE topic = '${topic}' AND reader = ?`),
  )
  const getPosition = db.prepare('SELECT offset FROM position WHERE topic = ? AND reader = ?')
  const arrivals = each(openArrivals)
  const tails = new Map(TOPICS.filter((name) => READERS[name].length > 0).map((name) => [name, openTail<never>()]))

  const page = <T extends TopicName>(topic: T, after: number, limit: number) =>
    inOneBatch<T>(select[topic].iterate(after, limit) as Iterable<Placed<string>>)

  const wrong = (what: 'read' | 'write', cause: unknown) => failure(`cannot ${what} the topics in`, path, cause)
  /** What is done with the file, if it is still the one. */
  function attempt<V>(what: 'read' | 'write', work: () => V): V {
    try {
      guard?.check()
      return work()
    } catch (error) {
      throw wrong(what, error)
    }
  }
  if (exclusive) attempt('write', () => addReaders(db))

  /** One transaction: all or nothing, durable when it resolves. */
  async function write(writes: Writes, notes: Notes, position?: Step, patient = false) {
    const fresh = TOPICS.flatMap((topic) => {
      const records = writes[topic] ?? []
      return records.length > 0 ? { topic, records, texts: records.map(textOf) } : []
    })
    const at = Date.now()
    const steps: Step[] = fresh.map(({ topic, texts }) => [INSERT[topic], texts.map((text) => [at, text])])
    for (const [key, value] of Object.entries(notes))
      steps.push(value === null ? [FORGET, [[key]]] : [NOTE, [[key, stringify(value)]]])
    if (position) steps.push(position)
    if (steps.length === 0) return attempt('write', () => {})
    const done = await attempt('write', () => writer.write(steps, patient)).catch((error) => {
      throw wrong('write', error)
    })
    for (const [i, { topic, records, texts }] of fresh.entries()) {
      tails.get(topic)?.add(done[i]!.last - records.length + 1, records as readonly never[], texts)
      arrivals[topic].announce()
    }
  }

  function reader<T extends TopicName>(topic: T, name: string): Reader<Records[T]> {
    const position = () => (getPosition.get(topic, name) as { offset: number }).offset
    let cursor = position()

    async function read(limit: number, signal: AbortSignal): Promise<Batch<Records[T]>> {
      const tail = tails.get(topic)
      let all = tail?.endsWith(cursor) // what is behind it only another process has appended: a wait may show
      for (;;) {
        signal.throwIfAborted()
        const known: Placed<Records[T]>[] = tail?.after(cursor, limit) ?? []
        const none = known.length === 0
        const rows = none && all ? known : attempt('read', () => (none ? page(topic, cursor, limit) : known))
        if (rows.length > 0) {
          cursor = rows.at(-1)!.offset
          return batch(rows)
        }
        await arrivals[topic].wait(LOOK_AGAIN, signal)
        all = false
      }
    }
    function batch(rows: Placed<Records[T]>[]): Batch<Records[T]> {
      let done = 0
      return {
        records: rows.map(({ record }) => record),
        async commit(count, writes = {}, notes) {
          const last = count === 0 ? undefined : rows[done + count - 1]
          if (count < 0 || (count > 0 && !last))
            throw new RangeError(`cannot commit ${count} of ${rows.length - done} records`)
          // Where more is known to wait behind these, it would wait with them.
          const all = last?.offset === cursor && tails.get(topic)?.endsWith(cursor)
          const patient = all && !notes && !Object.values(writes).some((records) => records.length > 0)
          await write(writes, notes ?? {}, last && [MOVE, [[last.offset, topic, name]]], patient)
          done += count
        },
      }
    }
    return {
      read,
      async seekToEnd(notes) {
        await write({}, notes, [MOVE_TO_END, [[topic, topic, name]]])
        cursor = position()
      },
      rewind() {
        cursor = position()
      },
    }
  }

  const opened = opening.move()

  return {
    append: (writes, notes = {}) => write(writes, notes),
    reader,
    /** The file is this process's alone: it leads as long as it runs. */
    async lead(_, stop, work) {
      stop.throwIfAborted()
      await work({
        lost: new AbortController().signal,
        stop,
        note: (notes) => write({}, notes),
        prove: async () => {},
      })
    },
    async *scan(topic, fields) {
      const next = fields && briefly(db, topic, fields)
      let offset = 0
      for (;;) {
        const rows = next?.(offset) ?? page(topic, offset, 1000) // as it is in the file: that is what is asked for here
        if (rows.length === 0) return
        for (const { offset: id, record } of rows) yield { id: String(id), record }
        offset = rows.at(-1)!.offset
      }
    },
    state: notesOf(db),
    async snapshot() {
      type Found = { records: number | null; oldest: number | null; offset: number }
      db.exec('BEGIN') // one moment
      try {
        const found = TOPICS.flatMap((topic) =>
          READERS[topic].map((name) => [name, lagOf[topic].get(name) as Found | undefined] as const),
        )
        const lag = found.map(([name, at]) => [name, { records: at?.records ?? 0, oldest: at?.oldest ?? undefined }])
        const positions = new Map(found.map(([name, at]) => [name, at?.offset ?? 0]))
        return { lag: Object.fromEntries(lag), passed: (name, id) => Number(id) <= positions.get(name)! }
      } finally {
        db.exec('COMMIT')
      }
    },
    trim: (before, unused = []) => trim(db, writer, before, unused),
    close: () => opened.disposeAsync(),
  }
}

/** In small bites that block nobody for long. */
async function trim(db: DatabaseSync, writer: Writer, before: number, unused: readonly ReaderName[]) {
  for (const topic of TOPICS.filter((name) => READERS[name].length > 0)) {
    const bite: Step = [REMOVE_OLD[topic], [[before, topic, JSON.stringify(unused)]]]
    while (db.isOpen && (await writer.write([bite]))[0]!.changes === BITE) await setImmediate()
  }
  if (db.isOpen) await writer.write([[REMOVE_CROSSED_OUT, [[before]]]])
}

function notesOf(db: DatabaseSync): Topics['state'] {
  const noted = db.prepare('SELECT key, value FROM note WHERE key BETWEEN ? AND ? ORDER BY key')
  return async (key, { exact = false } = {}) => {
    const rows = noted.all(key, exact ? key : `${key}\u{10ffff}`) as { key: string; value: string }[]
    return new Map(rows.map(({ key, value }) => [key, decodeNote(key, value)]))
  }
}

const each = <V>(make: (topic: TopicName) => V) =>
  Object.fromEntries(TOPICS.map((topic) => [topic, make(topic)])) as Record<TopicName, V>

const INSERT = each((topic) => `INSERT INTO "${topic}" (at, record) VALUES (?, ?)`)
const FORGET = 'DELETE FROM note WHERE key = ?'
const NOTE = 'INSERT INTO note (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value'
const MOVE = 'UPDATE position SET offset = ? WHERE topic = ? AND reader = ?'
const MOVE_TO_END = `UPDATE position SET offset = coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0)
  WHERE topic = ? AND reader = ?`
const REMOVE_OLD = each(
  (topic) => `DELETE FROM "${topic}" WHERE offset IN (
    SELECT offset FROM (SELECT offset, at FROM "${topic}" ORDER BY offset LIMIT ${BITE})
    WHERE at < ? AND offset <= (SELECT min(offset) FROM position WHERE topic = ? AND reader NOT IN (SELECT value FROM json_each(?))))`,
)

/** A line that crosses a letter out is short: of the others, which may be large, no more than their size is read. */
const CROSSING = `SELECT offset, CAST(record ->> '$.retried' AS INTEGER) AS letter FROM "dead-letters"
  WHERE at < ? AND octet_length(record) < 200 AND substr(record, 1, 11) = '{"retried":'`
const REMOVE_CROSSED_OUT = `WITH crossing AS MATERIALIZED (${CROSSING})
  DELETE FROM "dead-letters" WHERE offset IN (SELECT offset FROM crossing UNION ALL SELECT letter FROM crossing)`

const topicTable = (topic: TopicName) => `
  CREATE TABLE "${topic}" (offset INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, record TEXT NOT NULL) STRICT`
const POSITION_TABLE = `
  CREATE TABLE position (topic TEXT, reader TEXT, offset INTEGER NOT NULL, PRIMARY KEY (topic, reader)) STRICT, WITHOUT ROWID;
  ${TOPICS.flatMap((t) => READERS[t].map((r) => `INSERT INTO position VALUES ('${t}', '${r}', 0)`)).join(';')}`
const NOTE_TABLE = 'CREATE TABLE note (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID'

const STEPS = [[...TOPICS.map(topicTable), POSITION_TABLE, NOTE_TABLE].join(';')]

/** A file may be older than a reader. */
function addReaders(db: DatabaseSync) {
  const known = db.prepare('SELECT 1 FROM position WHERE topic = ? AND reader = ?')
  const pairs = TOPICS.flatMap((topic) => READERS[topic].map((name) => [topic, name] as const))
  for (const pair of pairs) if (!known.get(...pair)) db.prepare('INSERT INTO position VALUES (?, ?, 0)').run(...pair)
}

/** How far it has come, in figures that only grow. */
const heldBy = (db: DatabaseSync) =>
  Object.fromEntries(
    db
      .prepare(`SELECT name AS what, seq AS n FROM sqlite_sequence
        UNION ALL SELECT 'read by ' || reader, sum(offset) FROM position GROUP BY reader`)
      .all()
      .map(({ what, n }) => [what as string, n as number]),
  )

/** Beside a worker whose file was deleted nobody makes a new one. */
function assertThere(path: string) {
  if (existsSync(path) || !existsSync(`${path}.lock`)) return
  const lock = new DatabaseSync(`${path}.lock`)
  try {
    lock.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    if (isBusy(error))
      throw new FileFault(`a worker has ${path} open, and it is gone: the log of the worker says what to do`)
  } finally {
    lock.close()
  }
}

/** A lock that dies with the process, on the file itself whichever name leads to it: an open transaction beside it. */
export function hold(path: string): DatabaseSync {
  let name = path
  let lock: DatabaseSync | undefined
  try {
    const file = fileOf(path)
    assertWritable(file)
    name = `${path}.lock`
    lock = new DatabaseSync(`${file}.lock`)
    lock.exec('BEGIN EXCLUSIVE')
    return lock
  } catch (cause) {
    lock?.close()
    if (!isBusy(cause)) throw unopened(name, cause)
    throw new Error(`another worker is using ${path}: stop it first, or give this one a TOPICS_URL of its own`)
  }
}
