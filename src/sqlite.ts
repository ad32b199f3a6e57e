import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** The first release without the WAL-reset bug, which could corrupt a database (https://sqlite.org/wal.html). */
const OLDEST_SQLITE = '3.51.3'
/** ms a write waits for another process that is writing. Short, as everything else in this process waits with it. */
const BUSY_TIMEOUT = 250

/**
 * Opens a SQLite file as a place that keeps what was committed: WAL, synchronous=FULL, both asserted. A new file gets
 * `schema` and its version; one of another version is refused, and one without the table or index `mark`. Throws errors
 * that name the file.
 */
export function openSqlite(path: string, version: number, schema: string, mark?: string): DatabaseSync {
  try {
    mkdirSync(dirname(path), { recursive: true })
    const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT })
    try {
      db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
      const ask = (sql: string) => Object.values(db.prepare(sql).get()!)[0]
      assertEqual('journal_mode', ask('PRAGMA journal_mode'), 'wal')
      assertEqual('synchronous', ask('PRAGMA synchronous'), 2)
      assertEqual('busy_timeout', ask('PRAGMA busy_timeout'), BUSY_TIMEOUT)
      assertVersion(String(ask('SELECT sqlite_version()')))
      if (ask('PRAGMA user_version') === 0) create(db, version, schema)
      const found = ask('PRAGMA user_version')
      if (found === version && mark && !db.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(mark))
        throw new Error('it is a database of something else: are TOPICS_URL and DATABASE_URL swapped?')
      if (found === version) return db
      throw new Error(
        `it has schema version ${found} and this program knows version ${version}: update the program, or move the file away`,
      )
    } catch (error) {
      db.close()
      throw error
    }
  } catch (error) {
    throw new Error(`cannot open ${path}`, { cause: error })
  }
}

/** Another process may be about to create it too. */
function create(db: DatabaseSync, version: number, schema: string) {
  db.exec('BEGIN IMMEDIATE')
  const empty = db.prepare('PRAGMA user_version').get()!.user_version === 0
  db.exec(empty ? `${schema}; PRAGMA user_version = ${version}; COMMIT` : 'ROLLBACK')
}

/** Is it only that another process is writing? */
export const isBusy = (error: unknown): boolean =>
  error instanceof Error &&
  ([5, 6].includes(((error as { errcode?: number }).errcode ?? 0) & 0xff) || isBusy(error.cause))

function assertEqual(what: string, found: unknown, wanted: unknown) {
  if (found !== wanted) throw new Error(`${what} is ${found}, not ${wanted}: is the file on a network drive?`)
}

function assertVersion(found: string) {
  const order = (version: string) => version.split('.').reduce((sum, part) => sum * 1000 + Number(part), 0)
  if (order(found) < order(OLDEST_SQLITE))
    throw new Error(`SQLite ${found} can corrupt a database; Node 24.15 or newer brings ${OLDEST_SQLITE} or newer`)
}

/** Bytes inside a file that are free to be written again; 0 when that cannot be seen. */
export function freePages(path: string): number {
  try {
    const db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT })
    try {
      const ask = (pragma: string) => Number(Object.values(db.prepare(`PRAGMA ${pragma}`).get()!)[0])
      return ask('freelist_count') * ask('page_size')
    } finally {
      db.close()
    }
  } catch {
    return 0
  }
}
