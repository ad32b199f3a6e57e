import type { DatabaseSync } from 'node:sqlite'
import type { Logger } from 'pino'
import { type Column, FIRST_COLUMNS, RECORDED_COLUMNS, TABLE } from '../columns.ts'
import { Refusal } from '../io/errors.ts'
import { ask, assertWritable, failure, isPassing, openSqlite, type Step } from '../io/sqlite.ts'
import { assertMark, assertWhole, guardFile } from '../io/sqlite-file.ts'
import { threadWriter } from '../io/sqlite-writer.ts'
import { grouped, plural, seconds } from '../io/text.ts'
import { textOf } from '../topic/text.ts'
import type { Key, Prediction } from '../transaction.ts'
import { careSchema, judgementSchema, reviewSchema } from './schema.ts'
import type { Store } from './store.ts'

/** Primary result codes that speak of the row: TOOBIG, CONSTRAINT, MISMATCH (https://sqlite.org/rescode.html). */
const ROW_IS_BAD = [18, 19, 20]

const TYPES: Partial<Record<Column['type'], string>> = { integer: 'INTEGER', flag: 'INTEGER', real: 'REAL' }
const steps = (log?: Logger): readonly Step[] => [
  `CREATE TABLE predictions (
  ${FIRST_COLUMNS.map((c) => `${c} ${TYPES[TABLE[c].type] ?? 'TEXT'}${TABLE[c].required ? ' NOT NULL' : ''}`).join(',\n  ')},
  PRIMARY KEY (trans_num, event_time)
) STRICT`,
  (db) => {
    addCheck(db)
    // How many rows were ever inserted, which no VACUUM changes.
    db.exec('CREATE TABLE written (rows INTEGER NOT NULL) STRICT; INSERT INTO written SELECT count(*) FROM predictions')
  },
  (db) => {
    const rows = Number(ask(db, 'SELECT rows FROM written'))
    if (rows >= ROWS_A_SECOND)
      log?.info(
        `the desk's indexes of ${grouped(rows)} rows are made now, once; that takes about ${seconds((rows / ROWS_A_SECOND) * 1000)} s`,
      )
    db.exec(`ALTER TABLE predictions ADD COLUMN sampled REAL;
      ${reviewSchema('predictions', { id: 'INTEGER PRIMARY KEY AUTOINCREMENT', integer: 'INTEGER', text: 'TEXT' })}
      ${['UPDATE', 'DELETE']
        .map(
          (change) => `CREATE TRIGGER IF NOT EXISTS reviews_no_${change} BEFORE ${change} ON reviews
            BEGIN SELECT RAISE(ABORT, 'reviews are only ever added'); END;`,
        )
        .join('\n')}`)
  },
  careSchema('predictions', { integer: 'INTEGER', text: 'TEXT', real: 'REAL' }),
  judgementSchema({ integer: 'INTEGER', real: 'REAL', text: 'TEXT' }),
]
/** of which the indexes are made, on a slow machine */
const ROWS_A_SECOND = 50_000

/**
 * A verdict is 0, 1 or none. ALTER TABLE cannot add that to a column that is there; changing the text of the schema copies no
 * row and loses no column or index of the user's (https://sqlite.org/lang_altertable.html, at the end).
 */
function addCheck(db: DatabaseSync) {
  const wrong = ask(db, 'SELECT count(*) FROM predictions WHERE fraud_confirmed NOT IN (0, 1)')
  if (wrong !== 0)
    throw new Error(`fraud_confirmed is neither 0, 1 nor null in ${plural(Number(wrong), 'row')}: correct them first`)
  const sql = String(ask(db, "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'predictions'"))
  const checked = sql.replace(/\bfraud_confirmed"?\s+INTEGER/i, '$& CHECK (fraud_confirmed IN (0, 1))')
  if (checked === sql) throw new Error('its table predictions is of something else')
  db.enableDefensive(false)
  try {
    db.exec('PRAGMA writable_schema = ON')
    db.prepare("UPDATE sqlite_schema SET sql = ? WHERE type = 'table' AND name = 'predictions'").run(checked)
  } finally {
    db.exec('PRAGMA writable_schema = RESET')
    db.enableDefensive(true)
  }
}

/**
 * The table `predictions` in one SQLite file, created on first use. A file that cannot be opened is a mistake and
 * throws; one that is locked, or has no room, is opened again with each insert. A `worker` looks after the file.
 */
export function sqliteStore(path: string, worker?: { log: Logger }): Store {
  let connection: ReturnType<typeof connect> | undefined
  try {
    connection = connect(path, worker)
  } catch (error) {
    if (!isPassing(error)) throw error
  }
  return {
    async insert(rows: readonly Prediction[]) {
      connection?.check() // opened again, it would be another file
      try {
        connection ??= connect(path, worker)
        await connection.insert(rows)
      } catch (error) {
        const { code = '', errcode = 0, message } = error as { code?: string; errcode?: number; message: string }
        // An invalid argument is a value that no column takes: a list, a number of too many digits.
        if (ROW_IS_BAD.includes(errcode & 0xff) || code.startsWith('ERR_INVALID_ARG'))
          throw new Refusal(`the database refused the row: ${message}`)
        throw failure('cannot record in', path, error)
      }
    },
    async missing(rows) {
      connection ??= connect(path, worker)
      return connection.missing(rows)
    },
    async probe(row) {
      connection ??= connect(path, worker)
      return connection.probe(row)
    },
    async close() {
      await connection?.close()
    },
  }
}

function connect(path: string, worker?: { log: Logger }) {
  if (worker) assertWritable(path)
  const db = openSqlite(path, steps(worker?.log), 'sqlite_autoindex_predictions_1')
  const held = () => ({ rows: Number(ask(db, 'SELECT rows FROM written')) })
  const guard = guarded(db, path, held, worker)
  const find = db.prepare('SELECT * FROM predictions WHERE trans_num = ? AND event_time = ?')
  find.setReadBigInts(true)
  const get = ({ trans_num, event_time }: Prediction) => find.get(trans_num, event_time)
  const absent = db.prepare(ABSENT)
  const writer = threadWriter(path, INDEXED)
  return {
    check: guard.check,
    insert: (rows: readonly Prediction[]) =>
      writer.write([
        [INSERT, { fields: RECORDED_COLUMNS, of: rows.map(textOf) }],
        ['UPDATE written SET rows = rows + ?', 'changes'],
      ]),
    missing<R extends Key>(rows: readonly R[]) {
      const keys = JSON.stringify(rows.map(({ trans_num, event_time }) => [trans_num, event_time]))
      return absent.all(keys).map(({ key }) => rows[key as number]!)
    },
    probe(row: Prediction) {
      db.exec('BEGIN IMMEDIATE')
      try {
        db.prepare(INSERT).run(...RECORDED_COLUMNS.map((column) => row[column] ?? null))
        return get(row)!
      } finally {
        if (db.isTransaction) db.exec('ROLLBACK')
      }
    },
    async close() {
      await writer.close()
      guard.close()
    },
  }
}
/**
 * Keys come in no order, so each commit changes pages all over the indexes: they are kept at hand, and go from the log into the
 * file when most have changed several times (every 32 MB of the log).
 */
const INDEXED = 'PRAGMA cache_size = -16000; PRAGMA wal_autocheckpoint = 8000'
const INSERT = `INSERT INTO predictions (${RECORDED_COLUMNS.join(', ')})
  VALUES (${RECORDED_COLUMNS.map(() => '?').join(', ')}) ON CONFLICT (trans_num, event_time) DO NOTHING`
/** One statement for many rows, which looks into the key's index alone. */
const ABSENT = `SELECT key FROM json_each(?) AS wanted WHERE NOT EXISTS (SELECT 1 FROM predictions
  WHERE trans_num = wanted.value ->> 0 AND event_time = wanted.value ->> 1) ORDER BY key`

function guarded(db: DatabaseSync, path: string, held: () => { rows: number }, worker?: { log: Logger }) {
  try {
    assertMark(path, held())
    if (!worker) return { check() {}, close: () => db.close() }
    assertWhole(db, path)
    return guardFile(db, path, held, worker.log)
  } catch (error) {
    db.close()
    throw error
  }
}
