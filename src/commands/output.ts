import { existsSync, realpathSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Logger } from 'pino'
import { PREDICTION_COLUMNS } from '../columns.ts'
import type { KafkaCluster, Place } from '../config/dsn.ts'
import { postgresStore } from '../engines/postgres/store.ts'
import { csvLine, defuse } from '../io/csv.ts'
import { sqliteStore } from '../record/sqlite.ts'
import type { Store } from '../record/store.ts'

/** Where predictions go that are not the worker's own. `alone`: nobody else waits for it meanwhile. */
export type Output = Pick<Store, 'insert' | 'missing' | 'close'> & { alone?: true }
/** The worker's own places. */
export type Own = { topics: Place | KafkaCluster; database: Place }

const WANTED = 'a new file.csv, sqlite:<file>, or a new table in the PostgreSQL of DATABASE_URL'

/** Opens what --into names. Throws when it is the worker's own, or cannot be used, before anything is judged. */
export async function openOutput(into: string | undefined, own: Own, log: Logger): Promise<Output> {
  if (!into) throw new Error(`--into is missing, wants ${WANTED}`)
  if (/\.csv$/i.test(into)) return csvSink(into)
  if (into.startsWith('sqlite:')) {
    const path = into.slice('sqlite:'.length)
    if (path === '') throw new Error(`--into: got "${into}", wants ${WANTED}`)
    refuseOwn(path, own)
    return sqliteStore(path)
  }
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(into)) throw new Error(`--into: got "${into.slice(0, 80)}", wants ${WANTED}`)
  if (own.database.engine !== 'postgres')
    throw new Error(
      `--into: ${into} would be a table, and DATABASE_URL is no PostgreSQL; wants a new file.csv or sqlite:<file>`,
    )
  if (into === 'predictions' || into.startsWith('client_predict_'))
    throw new Error(`--into: ${into} is the worker's own, wants another table`)
  const store = postgresStore(own.database.url, log, into)
  try {
    await store.missing([]) // or a mistake would be taken for an outage
    return store
  } catch (error) {
    await store.close()
    throw new Error(`--into: the table ${into} cannot be used`, { cause: error })
  }
}

/** Throws when the worker keeps something in that file. */
export function refuseOwn(path: string, { topics, database }: Own): void {
  for (const place of [topics, database])
    if (place.engine === 'sqlite' && real(place.path) === real(path))
      throw new Error(`--into: ${path} is the worker's own, wants another file`)
}
const real = (path: string) => (existsSync(path) ? realpathSync(path) : resolve(path))

/** A table as CSV, with full card numbers: for its owner alone, as the database is. */
async function csvSink(path: string): Promise<Output> {
  const file = await open(path, 'wx', 0o600).catch((error) => {
    if (error.code === 'EEXIST') throw new Error(`--into: ${path} is there already, wants a new file`)
    throw new Error(`--into: cannot write ${path}`, { cause: error })
  })
  let size = 0
  /** What was cut off by a full disk is written over. */
  async function append(text: string) {
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at, bytes.length - at, size + at)).bytesWritten
    size += bytes.length
  }
  await append(csvLine(PREDICTION_COLUMNS))
  return {
    insert: (rows) =>
      append(rows.map((row) => csvLine(PREDICTION_COLUMNS.map((column) => defuse(row[column])))).join('')),
    missing: async (rows) => [...rows],
    close: () => file.close(),
    alone: true,
  }
}
