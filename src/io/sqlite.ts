import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  realpathSync,
  statfsSync,
  statSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { causes, DamagedFile, FileFault, NewerSchema, Outage } from './errors.ts'

/** The first release without the WAL-reset bug, which could corrupt a database (https://sqlite.org/wal.html). */
const OLDEST_SQLITE = '3.51.3'
/** ms a write waits for another process that is writing. Short, as everything else in this process waits with it. */
export const BUSY_TIMEOUT = 250
/** Every commit is on the disk. */
export const PRAGMAS = 'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL'
/** Primary result codes (https://sqlite.org/rescode.html): BUSY and LOCKED; CORRUPT and NOTADB; IOERR and FULL. */
const [BUSY, DAMAGED, NO_DISK] = [
  [5, 6],
  [11, 26],
  [10, 13],
]
/** What it says of a file that it cannot make, whatever the reason. */
const CANTOPEN = 14
/** What the system says of a disk. */
const NO_ROOM = ['ENOSPC', 'EDQUOT', 'EIO']

/** `steps[0]` makes version 1, and so on; what was released is never changed. */
export type Step = string | ((db: DatabaseSync) => void)

/**
 * Opens a SQLite file as a place that keeps what was committed: WAL, synchronous=FULL, both asserted. Its schema is brought
 * to the newest version; a newer one is refused, and a file without the table or index `mark`. Throws errors that name the file.
 */
export function openSqlite(path: string, steps: readonly Step[], mark?: string): DatabaseSync {
  try {
    fileOf(path)
    const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT })
    try {
      db.exec(PRAGMAS)
      assertEqual('journal_mode', ask(db, 'PRAGMA journal_mode'), 'wal')
      assertEqual('synchronous', ask(db, 'PRAGMA synchronous'), 2)
      assertEqual('busy_timeout', ask(db, 'PRAGMA busy_timeout'), BUSY_TIMEOUT)
      assertVersion(String(ask(db, 'SELECT sqlite_version()')))
      const found = versionOf(db)
      const ours = found > 0 ? !mark || has(db, mark) : ask(db, 'SELECT count(*) FROM sqlite_schema') === 0
      if (!ours) throw new Error('it is a database of something else: are TOPICS_URL and DATABASE_URL swapped?')
      if (found > steps.length)
        throw new NewerSchema(
          `it has schema version ${found} and this program knows version ${steps.length}: update the program, or move the file away`,
        )
      if (found < steps.length) migrate(db, steps)
      return db
    } catch (error) {
      db.close()
      throw error
    }
  } catch (error) {
    throw unopened(path, error)
  }
}

/** All steps or none, by one process at a time: one that is killed meanwhile leaves the version that there was. */
function migrate(db: DatabaseSync, steps: readonly Step[]) {
  db.exec('BEGIN IMMEDIATE')
  try {
    for (const step of steps.slice(versionOf(db))) typeof step === 'string' ? db.exec(step) : step(db)
    db.exec(`PRAGMA user_version = ${steps.length}; COMMIT`)
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

/** The file itself, whichever name leads to it; made when there is none. */
export function fileOf(path: string): string {
  makeFolder(dirname(path))
  if (!existsSync(path)) {
    if (existsSync(savedAs(path)))
      throw new FileFault(
        `${savedAs(path)} is there, saved when ${path} was deleted: move it to ${path}, or away to begin anew`,
      )
    closeSync(openSync(path, 'a'))
  }
  const found = statSync(path)
  if (found.isFile() && found.nlink > 1)
    throw new FileFault(
      'the file has a second name (a hard link), by which its -wal is not found: remove that name, or make it a copy',
    )
  return realpathSync(path)
}

/** SQLite opens a file that cannot be written too, and for this process it stays so when it can be again. */
export function assertWritable(path: string) {
  if (existsSync(path)) accessSync(path, constants.W_OK)
}

/** With those above it. Node's own `recursive` never ends in /proc, where nothing can be made. */
export function makeFolder(folder: string) {
  if (existsSync(folder)) return
  if (dirname(folder) !== folder) makeFolder(dirname(folder))
  try {
    mkdirSync(folder)
  } catch (error) {
    if (!existsSync(folder)) throw error
  }
}

/** The one value that it answers. */
export const ask = (db: DatabaseSync, sql: string) => Object.values(db.prepare(sql).get()!)[0]
const versionOf = (db: DatabaseSync) => ask(db, 'PRAGMA user_version') as number
const has = (db: DatabaseSync, name: string) =>
  db.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(name) !== undefined

/** Where the content of a file is saved that is deleted while it is open. */
export const savedAs = (path: string) => `${path}.saved`

const codeOf = (error: unknown) => ((error as { errcode?: number }).errcode ?? 0) & 0xff
/** Is it only that another process is writing? */
export const isBusy = (error: unknown): boolean => causes(error).some((e) => BUSY.includes(codeOf(e)))
/** Is it what passes by itself: another process is writing, or the disk is full or fails? */
export const isPassing = (error: unknown): boolean =>
  isBusy(error) || causes(error).some((e) => e instanceof Outage || saysDisk(e))

const saysDisk = (error: unknown) =>
  NO_DISK.includes(codeOf(error)) || NO_ROOM.includes((error as NodeJS.ErrnoException).code ?? '')
/** Has the disk of a file no byte left, or no place for another file? */
function isFull(path: string): boolean {
  try {
    const { bavail, files, ffree } = statfsSync(dirname(path))
    return bavail === 0 || (files > 0 && ffree === 0)
  } catch {
    return false
  }
}

/** What SQLite says of a file, with what to do where its pages make no sense or its disk takes nothing. */
export function failure(what: string, path: string, cause: unknown): Error {
  if (!DAMAGED.includes(codeOf(cause))) return undone(what, path, cause)
  const cure = 'which is damaged: npm run doctor says more; restore a backup'
  return new DamagedFile(`${what} ${path}, ${cure}`, { cause })
}
/** A file that cannot be opened may as well be another one than was meant. */
export const unopened = (path: string, cause: unknown) => undone('cannot open', path, cause)

function undone(what: string, path: string, cause: unknown): Error {
  if (saysDisk(cause) || (codeOf(cause) === CANTOPEN && isFull(path)))
    return new Outage(`${what} ${path}, whose disk is full or fails`, { cause, cure: 'make room there' })
  return new Error(`${what} ${path}`, { cause })
}

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
      return Number(ask(db, 'PRAGMA freelist_count')) * Number(ask(db, 'PRAGMA page_size'))
    } finally {
      db.close()
    }
  } catch {
    return 0
  }
}
