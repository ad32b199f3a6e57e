import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Logger } from 'pino'
import { shownServer } from '../../config/dsn.ts'
import { trustCure } from '../../io/certificate.ts'
import { NewerSchema, Pooled, reason } from '../../io/errors.ts'
import { seconds } from '../../io/text.ts'
import { HOUR } from '../../io/time.ts'
import { backoff } from '../../run/loop.ts'

/** ms until a connection has to stand */
const CONNECT_WITHIN = 5000
/** ms that the server works on a statement, and that it leaves locks to a client that has fallen silent */
const WITHIN = 10_000
/** ms until an answer has to be here: a server that is frozen, or cut off, keeps no deadline of its own */
const ANSWER_WITHIN = 12_000

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

/** bigint columns as exact as they are; everything else as the library reads it */
const types = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === pg.types.builtins.INT8 ? BigInt : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
}

/**
 * Deadlines that the server keeps. They are set by SQL: a pooler refuses to be told at the start of a connection, and hands
 * sessions around, so that nothing may be set there for longer than a transaction.
 */
const limits = (local: boolean) =>
  ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']
    .map((name) => `SELECT set_config('${name}', '${WITHIN}', ${local});`)
    .join('')
/** A client without power loses its locks. */
const SESSION = `${limits(false)} SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5`

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

/** ms that a connection is kept which nobody uses */
const KEPT = { idleTimeoutMillis: 60_000 }

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

/**
 * Connections to a PostgreSQL database, made when they are needed and again when they break. Every wait has an end here,
 * whatever the server does. `sslmode` is as in libpq, `prefer` when it is not given: TLS, its certificate not checked, if
 * the server has it. Errors name the server and carry the server's own as their cause.
 */
export function openPostgres(url: URL, { connections, session = false, log }: PostgresOptions): Postgres {
  const server = shownServer(url)
  let sslmode = url.searchParams.get('sslmode') ?? 'prefer'
  let pool: pg.Pool | undefined
  const closing = new AbortController()
  let ended: Promise<void> | undefined
  const slots: string[] = [] // not in use
  let marks = false // their table is known to be there

  const prepare = async (client: pg.ClientBase) => {
    client.on('error', ignore) // at once: the next bytes may be the server's farewell
    if (session) await client.query(SESSION)
  }
  const options = (): pg.PoolConfig => {
    const connection = new URL(url)
    connection.searchParams.set('sslmode', sslmode)
    connection.searchParams.set('uselibpqcompat', 'true') // the library's own reading of sslmode is another one
    return {
      connectionString: connection.href,
      application_name: 'client-predict',
      connectionTimeoutMillis: CONNECT_WITHIN,
      query_timeout: ANSWER_WITHIN,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000, // the system's own is two hours
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
      const ca = url.searchParams.get('sslrootcert') // names who is trusted, whatever Node trusts
      const cure = trustCure(String(cause), ca ? 'sslrootcert names no authority of it; without that ' : '')
      throw new Error(`cannot reach ${server}${cure}`, { cause })
    }
  }
  // What breaks a connection is told by the query in hand; an idle one is replaced at the next use.
  const ignore = () => {}
  const borrow = () =>
    reach(() => {
      pool ??= new pg.Pool({ ...options(), ...KEPT, max: connections, onConnect: prepare }).on('error', ignore)
      Object.assign(pool.options, options()) // the password may be another one by now
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
  /** With the server's deadlines, where the session has none of its own. */
  async function bounded<T>(client: pg.ClientBase, work: () => Promise<T>): Promise<T> {
    if (session) return work()
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
    connect: () =>
      reach(async () => {
        const client = new pg.Client(options())
        client.on('error', ignore) // the caller is told by `end`
        try {
          await client.connect()
          await client.query(SESSION)
          return client
        } catch (error) {
          void client.end().catch(ignore)
          throw error
        }
      }),
    async close() {
      closing.abort()
      ended ??= pool?.end()
      await ended
    },
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
