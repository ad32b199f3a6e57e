import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Logger } from 'pino'
import { shownServer } from './place.ts'
import { backoff, reason, seconds } from './stage.ts'

/** ms until a connection has to stand */
const CONNECT_WITHIN = 5000
/** ms that the server works on a statement, and that it leaves locks to a client that has fallen silent */
const WITHIN = 10_000
/** ms until an answer has to be here: a server that is frozen, or cut off, keeps no deadline of its own */
const ANSWER_WITHIN = 12_000

export type Rows = Record<string, unknown>[]
export type Query = (text: string, values?: unknown[]) => Promise<Rows>
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

/** bigint columns as exact as they are; everything else as the library reads it */
const types = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === pg.types.builtins.INT8 ? BigInt : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
}

/** One process at a time changes tables. */
const ALONE = "SELECT pg_advisory_xact_lock(hashtext('client-predict migrations'))"
/**
 * The transaction that each slot committed last. A slot has one transaction at a time, which leaves its mark there: so
 * it can be found out afterwards whether it was committed. (pg_xact_status cannot tell: a server that crashes during a
 * commit may give the same number to another transaction.) Nobody waits for 30 days to know.
 */
const MARKS = `${ALONE};
  CREATE TABLE IF NOT EXISTS client_predict_commits (slot uuid PRIMARY KEY, last uuid NOT NULL, at timestamptz NOT NULL);
  DELETE FROM client_predict_commits WHERE at < now() - interval '30 days'`
const begin = (slot: string, mark: string) => `BEGIN;
  SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';
  INSERT INTO client_predict_commits VALUES ('${slot}', '${mark}', now())
    ON CONFLICT (slot) DO UPDATE SET last = excluded.last, at = excluded.at`
/** Answers after the end of a transaction on the slot that is still under way. */
const LAST = `INSERT INTO client_predict_commits VALUES ($1, $1, now())
  ON CONFLICT (slot) DO UPDATE SET at = excluded.at RETURNING last`

/**
 * Connections to a PostgreSQL database, made when they are needed and again when they break. Every wait has an end here,
 * whatever the server does. `sslmode` is as in libpq, `prefer` when it is not given: TLS, its certificate not checked, if
 * the server has it. Errors name the server and carry the server's own as their cause.
 */
export function openPostgres(url: URL, { connections, log }: { connections: number; log?: Logger }): Postgres {
  const server = shownServer(url)
  let sslmode = url.searchParams.get('sslmode') ?? 'prefer'
  let pool: pg.Pool | undefined
  const closing = new AbortController()
  let ended: Promise<void> | undefined
  const slots: string[] = [] // not in use
  let marks = false // their table is known to be there

  const options = (): pg.PoolConfig => {
    const connection = new URL(url)
    connection.searchParams.set('sslmode', sslmode)
    connection.searchParams.set('uselibpqcompat', 'true') // the library's own reading of sslmode is another one
    return {
      connectionString: connection.href,
      application_name: 'client-predict',
      connectionTimeoutMillis: CONNECT_WITHIN,
      statement_timeout: WITHIN,
      lock_timeout: WITHIN,
      idle_in_transaction_session_timeout: WITHIN,
      query_timeout: ANSWER_WITHIN,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000, // the system's own is two hours
      options: '-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5', // a client without power loses its locks
      types,
    }
  }
  /** Connects by `attempt`; without TLS, if the server has none and nobody asked for it. */
  async function reach<T>(attempt: () => Promise<T>): Promise<T> {
    const mode = sslmode
    try {
      if (closing.signal.aborted) throw new Error('the connection is closed')
      return await attempt()
    } catch (cause) {
      if (mode === 'prefer' && /does not support SSL/.test(String(cause))) {
        if (sslmode === mode) pool = undefined // it holds no connection, as none could be made
        sslmode = 'disable'
        return reach(attempt)
      }
      throw new Error(`cannot reach ${server}`, { cause })
    }
  }
  // What breaks a connection is told by the query in hand; an idle one is replaced at the next use.
  const ignore = () => {}
  const borrow = () =>
    reach(() => {
      pool ??= new pg.Pool({ ...options(), max: connections, idleTimeoutMillis: 60_000 })
        .on('error', ignore)
        .on('connect', (client) => client.on('error', ignore)) // at once: the next bytes may be the server's farewell
      return pool.connect()
    })

  async function using<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await borrow()
    let failed = true
    try {
      const result = await work(client)
      failed = false
      return result
    } finally {
      client.release(failed) // after a failure nobody knows what the connection is in the middle of
    }
  }
  const ask = async (client: pg.ClientBase, text: string, values?: unknown[]): Promise<Rows> =>
    (await client.query(text, values)).rows

  /** Did the slot commit this last? The connection is gone, perhaps with the commit still under way. */
  async function committed(slot: string, mark: string): Promise<boolean> {
    for (let failures = 1; ; failures++) {
      try {
        return await using(async (client) => {
          await client.query(MARKS) // it may be another server now
          const [row] = await ask(client, LAST, [slot])
          return row?.last === mark
        })
      } catch (error) {
        if (closing.signal.aborted) throw new Error('closed before the server said whether it did the last commit')
        const wait = backoff(failures)
        const why = reason((error as Error).cause ?? error)
        if (failures > 1)
          log?.warn(
            `did ${server} do the last commit? ${why}; nothing is repeated before that is known; asking again in ${seconds(wait)} s`,
          )
        await sleep(wait, undefined, { signal: closing.signal }).catch(() => {})
      }
    }
  }

  return {
    query: (text, values) => using((client) => ask(client, text, values)),
    async transaction<T>(work: (query: Query) => Promise<T>): Promise<T> {
      const slot = slots.pop() ?? randomUUID()
      const mark = randomUUID()
      let done: { result: T } | undefined
      try {
        const result = await using(async (client) => {
          if (!marks) await client.query(MARKS)
          await client.query(begin(slot, mark))
          const result = await work((text, values) => ask(client, text, values))
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
    connect: () =>
      reach(async () => {
        const client = new pg.Client(options())
        client.on('error', ignore) // the caller is told by `end`
        await client.connect()
        return client
      }),
    async close() {
      closing.abort()
      ended ??= pool?.end()
      await ended
    },
  }
}

/** The database was written by a newer program. */
export class NewerSchema extends Error {}

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
    for (const step of migrations.slice(version)) await query(step)
    await query(
      'INSERT INTO client_predict_schema VALUES ($1, $2) ON CONFLICT (part) DO UPDATE SET version = excluded.version',
      [part, migrations.length],
    )
  })
}
