import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { Logger } from 'pino'
import { NewerSchema, Pooled, reason } from '../../io/errors.ts'
import { seconds } from '../../io/text.ts'
import { HOUR } from '../../io/time.ts'
import { backoff } from '../../run/loop.ts'
import { ANSWER_WITHIN, limits, openConnections } from './connections.ts'

export type Rows = Record<string, unknown>[]
/** `within`: ms until the answer has to be here, where that is no usual one. */
export type Query = (text: string, values?: unknown[], within?: number) => Promise<Rows>
export type Postgres = {
  query: Query
  /**
   * All of the work or none of it. When the connection breaks during the commit, it is found out whether the server has
   * done it: rejects only if it has not. Until the server can be asked, that waits, and says so in the log; when closed
   * meanwhile it rejects with an error that says so.
   */
  transaction<T>(work: (query: Query) => Promise<T>): Promise<T>
  /** A connection of its own, to listen and to hold locks; the caller closes it. */
  connect(): Promise<pg.Client>
  close(): Promise<void>
}

/** One process at a time changes tables. */
const ALONE = "SELECT pg_advisory_xact_lock(hashtext('client-predict migrations'))"
/**
 * The transaction that each slot committed last. A slot has one transaction at a time, which leaves its mark there: so
 * it can be found out afterwards whether it was committed. (pg_xact_status cannot tell: a server that crashes during a
 * commit may give the same number to another transaction.) Nobody waits for 30 days to know.
 */
const MARKS = `${limits(true)} ${ALONE};
  CREATE TABLE IF NOT EXISTS client_predict_commits (slot uuid PRIMARY KEY, last uuid NOT NULL, at timestamptz NOT NULL);
  DELETE FROM client_predict_commits WHERE at < now() - interval '30 days'`
const begin = (slot: string, mark: string) => `BEGIN; ${limits(true)}
  SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';
  INSERT INTO client_predict_commits VALUES ('${slot}', '${mark}', now())
    ON CONFLICT (slot) DO UPDATE SET last = excluded.last, at = excluded.at`
/** Answers after the end of a transaction on the slot that is still under way. */
const LAST = `INSERT INTO client_predict_commits VALUES ($1, $1, now())
  ON CONFLICT (slot) DO UPDATE SET at = excluded.at RETURNING last`

export type PostgresOptions = {
  connections: number
  /** Each connection is to be a session of the server: see assertSessions. */
  session?: boolean
  log?: Logger
}

const ask = async (client: pg.ClientBase, text: string, values?: unknown[], within = ANSWER_WITHIN): Promise<Rows> => {
  const query: pg.QueryConfig & { query_timeout: number } = { text, query_timeout: within, ...(values && { values }) }
  return (await client.query(query)).rows
}

/** A PostgreSQL database as it is worked with here: every wait has an end, whatever the server does. */
export function openPostgres(url: URL, { log, ...options }: PostgresOptions): Postgres {
  const { server, closing, using, connect, close } = openConnections(url, options)
  const slots: string[] = [] // not in use
  let marks = false // their table is known to be there

  /** With the server's deadlines, where the session has none of its own. */
  async function bounded<T>(client: pg.ClientBase, work: () => Promise<T>): Promise<T> {
    if (options.session) return work()
    await client.query(`BEGIN; ${limits(true)}`)
    const result = await work()
    await client.query('END')
    return result
  }

  /** Did the slot commit this last? The connection is gone, perhaps with the commit still under way. */
  async function committed(slot: string, mark: string): Promise<boolean> {
    for (let failures = 1; ; failures++) {
      try {
        return await using(async (client) => {
          await client.query(MARKS) // it may be another server now
          const [row] = await bounded(client, () => ask(client, LAST, [slot]))
          return row?.last === mark
        })
      } catch (error) {
        if (closing.aborted) throw new Error('closed before the server said whether it did the last commit')
        const wait = backoff(failures)
        const why = reason((error as Error).cause ?? error)
        if (failures > 1)
          log?.warn(
            `did ${server} do the last commit? ${why}; nothing is repeated before that is known; asking again in ${seconds(wait)} s`,
          )
        await sleep(wait, undefined, { signal: closing }).catch(() => {})
      }
    }
  }

  return {
    query: (text, values) => using((client) => bounded(client, () => ask(client, text, values))),
    async transaction<T>(work: (query: Query) => Promise<T>): Promise<T> {
      const slot = slots.pop() ?? randomUUID()
      const mark = randomUUID()
      let done: { result: T } | undefined
      try {
        const result = await using(async (client) => {
          if (!marks) await client.query(MARKS)
          await client.query(begin(slot, mark))
          const result = await work((text, values, within) => ask(client, text, values, within))
          done = { result }
          const { command } = await client.query('COMMIT')
          if (command !== 'COMMIT') throw new Error('rolled back, as one of its queries had failed')
          return result
        })
        marks = true
        slots.push(slot) // after a failure the server may not be done with it
        return result
      } catch (error) {
        marks = false
        if (done && (await committed(slot, mark))) return done.result
        throw error
      }
    },
    connect,
    close,
  }
}

/** Names a process of the server for good; a number alone may be that of another server behind the same address. */
export const WHO = 'SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()'
/** Which of two connections asks: in no order in which servers are handed out in turn would each meet its own again. */
const TURNS = [0, 1, 0, 0, 1, 1, 0, 1, 1, 1, 0, 0]

/**
 * Throws Pooled unless each connection is a session of the server. Proof, not a name: of two that are open at a time each has a
 * process of its own, and keeps it, however few the server has.
 */
export async function assertSessions(db: Postgres, url: URL): Promise<void> {
  await using open = new AsyncDisposableStack()
  const clients = [await db.connect(), await db.connect()]
  for (const client of clients) open.defer(() => client.end().catch(() => {}))
  const met: (string | undefined)[] = [undefined, undefined]
  for (const turn of TURNS) {
    const { rows } = await clients[turn]!.query(WHO)
    const who = JSON.stringify(rows[0])
    if (who === met[1 - turn] || (met[turn] ?? who) !== who) throw new Pooled(url)
    met[turn] = who
  }
}

/**
 * Brings one part of the schema to its newest version: `migrations[0]` makes version 1, and so on. However many processes
 * start at once, each step is done once. Throws NewerSchema when the database is ahead of this program.
 */
export function migrate(db: Postgres, part: string, migrations: readonly string[]): Promise<void> {
  return db.transaction(async (query) => {
    await query(ALONE)
    await query('CREATE TABLE IF NOT EXISTS client_predict_schema (part text PRIMARY KEY, version integer NOT NULL)')
    const [row] = await query('SELECT version FROM client_predict_schema WHERE part = $1', [part])
    const version = Number(row?.version ?? 0)
    if (version > migrations.length)
      throw new NewerSchema(
        `${part} has schema version ${version} and this program knows version ${migrations.length}: update the program, or use another database`,
      )
    for (const step of migrations.slice(version)) await query(step, undefined, HOUR)
    await query(
      'INSERT INTO client_predict_schema VALUES ($1, $2) ON CONFLICT (part) DO UPDATE SET version = excluded.version',
      [part, migrations.length],
    )
  })
}
