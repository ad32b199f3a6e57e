import { Refusal } from '../isolate.ts'
import { isBusy, openSqlite } from '../sqlite.ts'
import type { Prediction } from '../transaction.ts'
import { COLUMNS, INTEGERS, PREDICTION_COLUMNS, REALS, REQUIRED, type Store } from './store.ts'

const SCHEMA_VERSION = 1
/** Primary result codes that speak of the row: TOOBIG, CONSTRAINT, MISMATCH (https://sqlite.org/rescode.html). */
const ROW_IS_BAD = [18, 19, 20]

const type = (column: string) => (INTEGERS.includes(column) ? 'INTEGER' : REALS.includes(column) ? 'REAL' : 'TEXT')
const SCHEMA = `CREATE TABLE predictions (
  ${COLUMNS.map((c) => `${c} ${type(c)}${REQUIRED.includes(c) ? ' NOT NULL' : ''}`).join(',\n  ')},
  PRIMARY KEY (trans_num, event_time)
) STRICT`

/**
 * The table `predictions` in one SQLite file, created on first use. A file that cannot be opened is a mistake and
 * throws; one that is locked, or fails later, is opened again with each insert.
 */
export function sqliteStore(path: string): Store {
  let connection: ReturnType<typeof connect> | undefined
  try {
    connection = connect(path)
  } catch (error) {
    if (!isBusy(error)) throw error
  }
  return {
    async insert(rows: readonly Prediction[]) {
      try {
        connection ??= connect(path)
        connection.insert(rows)
      } catch (error) {
        const { code = '', errcode = 0, message } = error as { code?: string; errcode?: number; message: string }
        // An invalid argument is a value that no column takes: a list, a number of too many digits.
        if (ROW_IS_BAD.includes(errcode & 0xff) || code.startsWith('ERR_INVALID_ARG'))
          throw new Refusal(`the database refused the row: ${message}`)
        connection?.close()
        connection = undefined
        throw new Error(`cannot record in ${path}`, { cause: error })
      }
    },
    async missing(rows) {
      connection ??= connect(path)
      return rows.filter(connection.misses)
    },
    async probe(row) {
      connection ??= connect(path)
      return connection.probe(row)
    },
    async close() {
      connection?.close()
    },
  }
}

function connect(path: string) {
  const db = openSqlite(path, SCHEMA_VERSION, SCHEMA, 'sqlite_autoindex_predictions_1')
  const statement = db.prepare(`INSERT INTO predictions (${PREDICTION_COLUMNS.join(', ')})
    VALUES (${PREDICTION_COLUMNS.map(() => '?').join(', ')}) ON CONFLICT (trans_num, event_time) DO NOTHING`)
  const find = db.prepare('SELECT * FROM predictions WHERE trans_num = ? AND event_time = ?')
  find.setReadBigInts(true)
  const put = (row: Prediction) => statement.run(...PREDICTION_COLUMNS.map((column) => row[column] ?? null))
  const get = ({ trans_num, event_time }: Prediction) => find.get(trans_num, event_time)
  /** What `work` writes is there as a whole, or not at all. */
  function transaction<T>(work: () => T, end: 'COMMIT' | 'ROLLBACK' = 'COMMIT'): T {
    try {
      db.exec('BEGIN IMMEDIATE')
      const result = work()
      db.exec(end)
      return result
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK')
      throw error
    }
  }
  return {
    insert: (rows: readonly Prediction[]) => transaction(() => rows.forEach(put)),
    misses: (row: Prediction) => get(row) === undefined,
    probe: (row: Prediction) =>
      transaction(() => {
        put(row)
        return get(row)!
      }, 'ROLLBACK'),
    close: () => db.close(),
  }
}
