import pg from 'pg'
import { shownServer } from '../../config/dsn.ts'
import { trustCure } from '../../io/certificate.ts'

/** ms until a connection has to stand */
const CONNECT_WITHIN = 5000
/** ms that the server works on a statement, and that it leaves locks to a client that has fallen silent */
const WITHIN = 10_000
/** ms until an answer has to be here: a server that is frozen, or cut off, keeps no deadline of its own */
export const ANSWER_WITHIN = 12_000

/** ms that a connection is kept which nobody uses */
const KEPT = { idleTimeoutMillis: 60_000 }

/** bigint columns as exact as they are; everything else as the library reads it */
const types = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === pg.types.builtins.INT8 ? BigInt : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
}

/**
 * Deadlines that the server keeps. They are set by SQL: a pooler refuses to be told at the start of a connection, and hands
 * sessions around, so that nothing may be set there for longer than a transaction.
 */
export const limits = (local: boolean) =>
  ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']
    .map((name) => `SELECT set_config('${name}', '${WITHIN}', ${local});`)
    .join('')
/** A client without power loses its locks. */
const SESSION = `${limits(false)} SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5`

/**
 * Connections to a PostgreSQL database, made when they are needed and again when they break. `sslmode` is as in libpq,
 * `prefer` when it is not given: TLS, its certificate not checked, if the server has it. Errors name the server and carry
 * the server's own as their cause.
 */
export function openConnections(
  url: URL,
  { connections, session = false }: { connections: number; session?: boolean },
) {
  const server = shownServer(url)
  let sslmode = url.searchParams.get('sslmode') ?? 'prefer'
  let pool: pg.Pool | undefined
  const closing = new AbortController()
  let ended: Promise<void> | undefined

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

  return {
    server,
    closing: closing.signal,
    using,
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
