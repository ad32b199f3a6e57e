import type { Logger } from 'pino'
import { type Column, type ColumnName, FIRST_COLUMNS, RECORDED_COLUMNS, TABLE } from '../../columns.ts'
import { shownServer } from '../../config/dsn.ts'
import { Refusal } from '../../io/errors.ts'
import { stringify } from '../../io/json.ts'
import { grouped, seconds } from '../../io/text.ts'
import { careSchema, judgementSchema, reviewSchema } from '../../record/schema.ts'
import type { Store } from '../../record/store.ts'
import { identity, type Prediction } from '../../transaction.ts'
import { migrate, openPostgres, type Rows } from './client.ts'

const TYPES: Record<Column['type'], string> = {
  text: 'text',
  integer: 'bigint',
  real: 'double precision',
  flag: 'smallint',
  date: 'date',
  time: 'timestamptz',
}
const type = (column: ColumnName) => TYPES[TABLE[column].type]
export const migrations = (table: string) => [
  `CREATE TABLE ${table} (
    ${FIRST_COLUMNS.map((c) => `${c} ${type(c)}${TABLE[c].required ? ' NOT NULL' : ''}`).join(',\n    ')},
    PRIMARY KEY (trans_num, event_time)
  )`,
  // NOT VALID: holds from now on, and does not read a large table under its lock.
  `ALTER TABLE ${table} ADD CHECK (fraud_confirmed IN (0, 1)) NOT VALID`,
  `ALTER TABLE ${table} ADD COLUMN sampled double precision; ${table === 'predictions' ? REVIEWS : ''}`,
  careSchema(table, { integer: 'bigint', text: 'text', real: 'double precision' }),
  table === 'predictions' ? judgementSchema({ integer: 'bigint', real: 'double precision', text: 'text' }) : '',
]
/** An index of a large table takes longer than a statement may. */
const REVIEWS = `SET LOCAL statement_timeout = '1h';
  ${reviewSchema('predictions', { id: 'bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY', integer: 'bigint', text: 'text' })}
  CREATE OR REPLACE FUNCTION reviews_stay() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'reviews are only ever added'; END $$;
  CREATE OR REPLACE TRIGGER reviews_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON reviews EXECUTE FUNCTION reviews_stay()`

/** of rows, of which the indexes are made, on a slow machine */
const BYTES_A_SECOND = 16 * 2 ** 20
/** rows in one statement: each is to be done well within its deadline, on a slow server too */
const STATEMENT_ROWS = 5000
/** Times have no zone in the rows: they are UTC. Nor is a date interpreted: what is not ISO, of an earlier release, is none. */
const READ: Record<string, string> = {
  trans_date_trans_time: "trans_date_trans_time AT TIME ZONE 'UTC'",
  dob: "CASE WHEN dob ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' THEN dob::date END",
}
const SENT: Record<string, string> = { trans_date_trans_time: 'timestamp', dob: 'text' }
const insertInto = (table: string) => `INSERT INTO ${table} (${RECORDED_COLUMNS.join(', ')})
  SELECT ${RECORDED_COLUMNS.map((c) => READ[c] ?? c).join(', ')}
  FROM json_to_recordset($1::json) AS batch (${RECORDED_COLUMNS.map((c) => `${c} ${SENT[c] ?? type(c)}`).join(', ')})
  ORDER BY trans_num COLLATE "C", event_time
  ON CONFLICT (trans_num, event_time) DO NOTHING`

/** Two processes that insert the same rows wait for each other: in the same order, or it would be for ever. */
const byKey = (a: Prediction, b: Prediction) =>
  a.trans_num === b.trans_num ? a.event_time - b.event_time : a.trans_num < b.trans_num ? -1 : 1

/** The table, in a PostgreSQL database. It is connected to, and the table created, with the first use. */
export function postgresStore(url: URL, log?: Logger, table = 'predictions'): Store {
  const db = openPostgres(url, { connections: 1, ...(log && { log }) })
  const insert = insertInto(table)
  let migrated = false
  /** Says before how long the indexes of a table take that has none: nothing is recorded meanwhile. */
  async function foretell() {
    const [old] = await db.query(
      `SELECT pg_relation_size(oid) AS bytes FROM pg_class WHERE oid = to_regclass($1) AND NOT EXISTS
         (SELECT 1 FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'sampled')`,
      [table],
    )
    const bytes = Number(old?.bytes ?? 0)
    if (bytes >= BYTES_A_SECOND)
      log?.info(
        `the desk's indexes of ${grouped(Math.round(bytes / 2 ** 20))} MB of rows are made now, once; that takes about ${seconds((bytes / BYTES_A_SECOND) * 1000)} s`,
      )
  }
  async function ready() {
    if (!migrated) {
      await foretell()
      await migrate(db, table, migrations(table))
    }
    migrated = true
  }
  return {
    async insert(rows: readonly Prediction[]) {
      try {
        await ready()
        const ordered = rows.toSorted(byKey)
        await db.transaction(async (query) => {
          for (let i = 0; i < ordered.length; i += STATEMENT_ROWS)
            await query(insert, [stringify(ordered.slice(i, i + STATEMENT_ROWS))])
        })
      } catch (error) {
        if (migrated && isOfRows(error)) throw new Refusal(`the database refused the row: ${said(error)}`)
        migrated = false // it may be another database when it is back
        throw new Error(`cannot record in ${shownServer(url)}`, { cause: (error as Error).cause ?? error })
      }
    },
    async missing(rows) {
      await ready()
      const found = await db.query(
        `SELECT trans_num, event_time FROM ${table} JOIN unnest($1::text[], $2::bigint[]) AS wanted (trans_num, event_time)
         USING (trans_num, event_time)`,
        [rows.map(({ trans_num }) => trans_num), rows.map(({ event_time }) => event_time)],
      )
      const there = new Set(found.map(({ trans_num, event_time }) => `${trans_num}@${event_time}`))
      return rows.filter((row) => !there.has(identity(row)))
    },
    async probe(row) {
      await ready()
      let found: Rows | undefined
      const back = new Error('taken back')
      await db
        .transaction(async (query) => {
          await query(insert, [stringify([row])])
          found = await query(`SELECT * FROM ${table} WHERE trans_num = $1 AND event_time = $2`, [
            row.trans_num,
            row.event_time,
          ])
          throw back
        })
        .catch((error) => {
          if (error !== back) throw error
        })
      return found![0]!
    },
    close: () => db.close(),
  }
}

/** What the server says of its answer; `message` quotes what is in the rows. */
type Answer = { code: string; message: string; column?: string; table?: string; constraint?: string }

/** SQLSTATE classes 22 and 23: the data, or a constraint (https://www.postgresql.org/docs/current/errcodes-appendix.html). */
const isOfRows = (error: unknown): error is Answer => /^2[23]...$/.test((error as Answer).code)

/** Without anything quoted, in whichever language, but for names. */
function said({ message, column, table, constraint }: Answer): string {
  const names = [column, table, constraint].filter((name) => name !== undefined)
  const bare = names.reduce((text, name) => text.replaceAll(`"${name}"`, name), message)
  return bare.replace(/["'«»„“”‹›‘’‚「」].*["'«»„“”‹›‘’‚「」]/s, '…')
}
