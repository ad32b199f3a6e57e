import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { migrate, openPostgres, type Postgres } from '../../../src/engines/postgres/client.ts'
import { NewerSchema, reason } from '../../../src/io/errors.ts'
import { look, startPostgres } from '../../postgres.ts'
import { startProxy } from '../../proxy.ts'
import { listeningLog, waitFor } from '../../rows.ts'

const server = await startPostgres()
const secured = await startPostgres({ tls: true })
const stranger = await startPostgres({ tls: true })
afterAll(() => Promise.all([server, secured, stranger].map((one) => one[Symbol.asyncDispose]())), 60_000)

/** Connections to the database, closed when the test is over. */
function open(url: URL, { connections = 2 } = {}) {
  const { log, lines } = listeningLog()
  const db = openPostgres(url, { connections, log })
  onTestFinished(() => db.close())
  return Object.assign(db, { lines })
}
/** The same database with other parameters, or by another name of this machine. */
function other(url: URL, { host = '127.0.0.1', ...parameters }: Record<string, string>) {
  const changed = Object.assign(new URL(url), { hostname: host })
  for (const [name, value] of Object.entries(parameters)) changed.searchParams.set(name, value)
  return changed
}
const isCommit = (bytes: Buffer) => bytes.includes('COMMIT')
const write = (db: Postgres, text = 'one') =>
  db.transaction(async (query) => {
    await query('INSERT INTO t VALUES ($1)', [text])
    return text
  })
const outcome = (work: Promise<unknown>) =>
  work.then(
    (result) => ({ result }),
    (error) => ({ error: reason(error) }),
  )
const written = async (url: URL) => (await look(url, 'SELECT text FROM t ORDER BY text')).map(({ text }) => text)

/** How many of ours the server has. */
const sessions = async (url: URL) =>
  (
    await look(
      url,
      "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'client-predict' AND datname = current_database()",
    )
  )[0]!.n

/** A database with a table, reached by way of a proxy. */
async function far(own = server) {
  const near = await own.database()
  await look(near, 'CREATE TABLE t (text text)')
  const proxy = await startProxy(own)
  const url = proxy.through(near)
  const db = open(url)
  onTestFinished(() => proxy[Symbol.asyncDispose]())
  return { near, url, proxy, db }
}

describe('a transaction', { timeout: 120_000 }, () => {
  test('is done as a whole and resolves with what its work did', async () => {
    const { near, db } = await far()
    expect(await Promise.all(['a', 'b', 'c', 'd', 'e'].map((text) => write(db, text)))).toEqual([
      'a',
      'b',
      'c',
      'd',
      'e',
    ])
    expect(await written(near)).toEqual(['a', 'b', 'c', 'd', 'e'])
  })

  test('is not done when its work throws, and rejects with just that', async () => {
    const { near, db } = await far()
    const mistake = new Error('no')
    await expect(
      db.transaction(async (query) => {
        await query("INSERT INTO t VALUES ('lost')")
        throw mistake
      }),
    ).rejects.toBe(mistake)
    await write(db, 'kept')
    expect(await written(near)).toEqual(['kept'])
  })

  test('rejects when one of its queries failed, even if its work went on', async () => {
    const { near, db } = await far()
    const work = db.transaction(async (query) => {
      await query("INSERT INTO t VALUES ('lost')")
      await query('SELECT 1 / 0').catch(() => {})
    })
    expect(await outcome(work)).toEqual({ error: 'rolled back, as one of its queries had failed' })
    expect(await written(near)).toEqual([])
  })

  test('rejects with what the server says to its commit', async () => {
    const { near, db } = await far()
    await look(near, 'ALTER TABLE t ADD UNIQUE (text) DEFERRABLE INITIALLY DEFERRED')
    await write(db)
    await expect(write(db)).rejects.toThrow(/duplicate key value violates unique constraint/)
    expect(await written(near)).toEqual(['one'])
  })

  test('waits for the disk, whatever the database says', async () => {
    const { near, db } = await far()
    await server.sql(`ALTER DATABASE ${near.pathname.slice(1)} SET synchronous_commit = off`)
    const show = 'SHOW synchronous_commit'
    expect(await db.query(show)).toEqual([{ synchronous_commit: 'off' }])
    expect(await db.transaction((query) => query(show))).toEqual([{ synchronous_commit: 'on' }])
    await server.sql(`ALTER DATABASE ${near.pathname.slice(1)} SET synchronous_commit = remote_apply`)
    expect(await open(near).transaction((query) => query(show))).toEqual([{ synchronous_commit: 'remote_apply' }])
  })

  test('whose commit was done, but not answered, resolves and is there once', async () => {
    const { near, proxy, db } = await far()
    for (const text of ['a', 'b', 'c']) {
      const committing = proxy.freezeAnswersTo(isCommit)
      const work = write(db, text)
      await committing
      await waitFor('the row', async () => (await written(near)).includes(text))
      proxy.cut()
      proxy.mend()
      expect(await work).toBe(text)
    }
    expect(await written(near)).toEqual(['a', 'b', 'c'])
  })

  test('whose commit did not reach the server rejects and leaves nothing', async () => {
    const { near, proxy, db } = await far()
    await write(db, 'before')
    const committing = proxy.freezeBefore(isCommit)
    const work = outcome(write(db, 'lost'))
    await committing
    proxy.cut()
    proxy.mend()
    expect(await work).toMatchObject({ error: expect.stringMatching(/ECONNRESET|terminated/) })
    await write(db, 'after')
    expect(await written(near)).toEqual(['after', 'before'])
  })

  test('that was cut off holds up no other, even if the server is not done with it', async () => {
    const { near, proxy, db } = await far()
    await write(db, 'before')
    const busy = () => look(near, "SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(8)'")
    const work = outcome(db.transaction((query) => query('SELECT pg_sleep(8)')))
    await waitFor('the server to be busy', async () => (await busy()).length)
    proxy.cut()
    proxy.mend()
    expect(await work).toMatchObject({ error: expect.stringMatching(/ECONNRESET|terminated/) })
    await write(db, 'after')
    expect(await busy()).toHaveLength(1)
    expect(await written(near)).toEqual(['after', 'before'])
  })

  test('is not done in a database that was made anew before it could be asked', async () => {
    const { near, proxy, db } = await far()
    const committing = proxy.freezeBefore(isCommit)
    const work = outcome(write(db, 'lost'))
    await committing
    proxy.cut()
    await look(near, 'DROP TABLE client_predict_commits')
    proxy.mend()
    expect(await work).toMatchObject({ error: expect.stringMatching(/ECONNRESET|terminated/) })
    expect(await written(near)).toEqual([])
  })

  test('whose commit is still under way waits for its end', async () => {
    await using own = await startPostgres()
    const { near, proxy, db } = await far(own)
    await write(db, 'before')
    const waitForCopies = async (copies: string) => {
      await own.sql(`ALTER SYSTEM SET synchronous_standby_names = '${copies}'`)
      await own.sql('SELECT pg_reload_conf()')
      await waitFor(
        'the setting',
        async () => (await own.sql('SHOW synchronous_standby_names'))[0]!.synchronous_standby_names === copies,
      )
    }
    await waitForCopies('nobody') // a commit waits for a copy on a server that is not there
    const committing = proxy.freezeAnswersTo(isCommit)
    let settled = false
    const work = write(db, 'slow').finally(() => {
      settled = true
    })
    await committing
    await waitFor(
      'the commit',
      async () => (await own.sql("SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'")).length,
    )
    proxy.cut()
    proxy.mend()
    await sleep(1000)
    expect(settled).toBe(false)
    expect(await written(near)).toEqual(['before'])
    await waitForCopies('')
    expect(await work).toBe('slow')
    expect(await written(near)).toEqual(['before', 'slow'])
  })

  test('whose commit was done before the server was killed resolves', async () => {
    await using own = await startPostgres()
    const { near, proxy, db } = await far(own)
    const committing = proxy.freezeAnswersTo(isCommit)
    const work = write(db)
    await committing
    await waitFor('the row', async () => (await written(near)).length)
    await own.kill()
    proxy.thaw()
    await own.start()
    expect(await work).toBe('one')
    expect(await written(near)).toEqual(['one'])
  })

  test('that was lost when the server was killed rejects, even if another one has its number now', async () => {
    // Nothing but a commit writes its log to the disk.
    await using own = await startPostgres({ settings: { wal_writer_delay: '10s' } })
    const { near, proxy, db } = await far(own)
    await write(db, 'before')
    const committing = proxy.freezeBefore(isCommit)
    let number: unknown
    const work = outcome(
      db.transaction(async (query) => {
        await query("INSERT INTO t VALUES ('lost')")
        number = (await query('SELECT pg_current_xact_id()::text AS xid'))[0]!.xid
      }),
    )
    await committing
    await own.kill()
    proxy.cut()
    await own.start()
    const taken = 'WITH new AS (INSERT INTO t VALUES (pg_current_xact_id()::text) RETURNING text) SELECT * FROM new'
    expect(await look(near, taken)).toEqual([{ text: number }])
    proxy.mend()
    expect(await work).toMatchObject({ error: expect.stringMatching(/ECONNRESET|terminated/) })
    expect(await written(near)).toEqual([number, 'before'])
  })

  test('says in the log that it waits to know', async () => {
    const { near, url, proxy, db } = await far()
    await write(db, 'before')
    const committing = proxy.freezeAnswersTo(isCommit)
    const work = write(db)
    await committing
    await waitFor('the row', async () => (await written(near)).length === 2)
    proxy.cut()
    const line = await waitFor('a line', () => db.lines[0])
    expect(line.level).toBe('warn')
    expect(line.msg).toMatch(
      new RegExp(
        `^did PostgreSQL at ${url.host}${url.pathname} do the last commit\\? (read|connect) ECONNRESET.*; ` +
          'nothing is repeated before that is known; asking again in 0\\.[3-5] s$',
      ),
    )
    expect(line.msg).not.toContain(url.password)
    proxy.mend()
    expect(await work).toBe('one')
  })

  test('that waits to know ends when the connections are closed, and says so', async () => {
    const { proxy, db } = await far()
    await write(db)
    const committing = proxy.freezeBefore(isCommit)
    const work = outcome(write(db))
    await committing
    proxy.cut()
    await waitFor('three lines', () => db.lines.length >= 3)
    const tries = db.lines.length
    await db.close()
    expect(await work).toEqual({ error: 'closed before the server said whether it did the last commit' })
    expect(db.lines).toHaveLength(tries) // it does not sit out the pause, and asks no more
  })

  test('goes on in a database that was made anew', async () => {
    const { near, db } = await far()
    await write(db, 'a')
    await look(near, 'DROP TABLE client_predict_commits')
    await expect(write(db, 'b')).rejects.toThrow(/client_predict_commits/)
    await write(db, 'c')
    expect(await written(near)).toEqual(['a', 'c'])
  })

  test('leaves a mark for each connection and none for each transaction; one out of use is removed', async () => {
    const { near, db } = await far()
    for (let n = 0; n < 20; n++) await Promise.all([write(db), write(db)])
    const marks = 'SELECT count(*) AS n FROM client_predict_commits'
    const [before] = await look(near, marks)
    expect(before!.n).toBeLessThanOrEqual(2n)
    await look(near, "UPDATE client_predict_commits SET at = now() - interval '31 days'")
    await write(db)
    await write(open(near))
    expect(await look(near, marks)).toEqual([{ n: 2n }])
  })
})

describe('connections', { timeout: 120_000 }, () => {
  const endOthers = (url: URL) =>
    server.sql(
      `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '${url.pathname.slice(1)}'`,
    )

  test('read a bigint exactly, and anything else as the library does', async () => {
    const { db } = await far()
    expect(
      await db.query("SELECT 9007199254740993::bigint AS a, 1::int AS b, 'x' AS c, $1::bigint AS d", [2n ** 62n]),
    ).toEqual([{ a: 9007199254740993n, b: 1, c: 'x', d: 2n ** 62n }])
  })

  test('that break while nobody uses them are made again', async () => {
    const { near, db } = await far()
    await Promise.all([write(db, 'a'), write(db, 'b')])
    await endOthers(near)
    await sleep(200) // until that is known here
    await write(db, 'c')
    expect(await written(near)).toEqual(['a', 'b', 'c'])
  })

  test('that break at the moment they stand fail the query in hand and nothing else', async () => {
    const { near, proxy, db } = await far()
    let passwords = 0
    const logsIn = (bytes: Buffer) => bytes[0] === 'p'.charCodeAt(0) && ++passwords === 2
    const standing = proxy.freezeAnswersTo(logsIn)
    const asked = outcome(db.query('SELECT 1'))
    await standing
    await waitFor('the session', async () => (await endOthers(near)).length)
    proxy.thaw() // the welcome and the farewell arrive together
    expect(await asked).toMatchObject({ error: expect.stringMatching(/terminat|not queryable/) })
    expect(await db.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  test('of the caller tell by `end` that they broke', async () => {
    const { near, db } = await far()
    const client = await db.connect()
    const ended = new Promise((resolve) => client.once('end', resolve))
    await endOthers(near)
    await ended
  })

  test('that are idle are looked after by both sides, and a query has its deadlines on the server', async () => {
    const { near, db } = await far()
    const client = await db.connect()
    const [settings] = (
      await client.query(`SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock,
        current_setting('idle_in_transaction_session_timeout') AS idle, current_setting('tcp_keepalives_idle') AS probe,
        current_setting('tcp_keepalives_interval') AS again, current_setting('application_name') AS name`)
    ).rows
    expect(settings).toEqual({
      statement: '10s',
      lock: '10s',
      idle: '10s',
      probe: '10',
      again: '5',
      name: 'client-predict',
    })
    if (process.platform === 'linux') {
      const [{ port } = { port: 0 }] = (await open(near).query(
        'SELECT client_port AS port FROM pg_stat_activity WHERE pid = pg_backend_pid()',
      )) as { port: number }[]
      await waitFor('a timer of 10 s', () => keepaliveTimer(port) <= 10) // another one may run at first
    }
    await client.end()
  })

  test('to a server that stands still end within the deadlines, and a transaction tells the truth', async () => {
    await using own = await startPostgres()
    const { near, db } = await far(own)
    const client = await db.connect()
    await Promise.all([write(db, 'a'), write(db, 'b')])
    const start = Date.now()
    const work = outcome(
      db.transaction(async (query) => {
        await query("INSERT INTO t VALUES ('c')")
        own.freeze()
      }),
    )
    await sleep(500)
    const [asked, listened, another] = await Promise.all([
      outcome(db.query('SELECT 1')),
      outcome(client.query('SELECT 1')),
      outcome(db.connect()),
    ])
    expect(asked).toEqual({ error: 'Query read timeout' })
    expect(listened).toEqual({ error: 'Query read timeout' })
    expect(another).toMatchObject({ error: expect.stringMatching(/^cannot reach PostgreSQL at .*timeout/) })
    expect(Date.now() - start).toBeLessThan(25_000)
    own.thaw()
    // The server may end the session, as it was idle, or do the commit that it finds.
    const rows = 'error' in (await work) ? ['a', 'b'] : ['a', 'b', 'c']
    expect(await written(near)).toEqual(rows)
    expect(await db.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
    await client.end()
  })

  test('end when they are closed, and no others are made', async () => {
    const { db, near, url } = await far()
    await Promise.all([db.query('SELECT 1'), db.query('SELECT 2')])
    await db.close()
    await waitFor('the end', async () => (await sessions(near)) === 0n)
    for (const use of [() => db.query('SELECT 1'), () => write(db), () => db.connect()])
      expect(await outcome(use())).toEqual({
        error: `cannot reach PostgreSQL at ${url.host}${url.pathname}: the connection is closed`,
      })
  })

  test.for<[string, () => Promise<URL>, RegExp]>([
    [
      'nobody listens',
      async () => new URL('postgres://worker:secret@127.0.0.1:1/db'),
      /: connect ECONNREFUSED 127\.0\.0\.1:1$/,
    ],
    [
      'the password is wrong',
      async () => Object.assign(await server.database(), { password: 'secret' }),
      /: password authentication failed for user "worker"$/,
    ],
    [
      'there is no such database',
      async () => Object.assign(await server.database(), { pathname: '/missing' }),
      /: database "missing" does not exist$/,
    ],
  ])('fail when %s, with the server and without the password', async ([, url, said]) => {
    const address = await url()
    const db = open(address)
    for (const use of [() => db.query('SELECT 1'), () => db.connect()]) {
      const { error } = (await outcome(use())) as { error: string }
      expect(error).toMatch(said)
      expect(error.startsWith(`cannot reach PostgreSQL at ${address.host}${address.pathname}: `)).toBe(true)
      expect(error).not.toContain('secret')
    }
  })
})

describe('sslmode', { timeout: 120_000 }, () => {
  const isSecure = async (db: Postgres) =>
    (await db.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'))[0]!.ssl
  const failure = async (url: URL) => ((await outcome(open(url).query('SELECT 1'))) as { error: string }).error

  test('is prefer: TLS with whatever certificate when the server has it', async () => {
    expect(await isSecure(open(await secured.database()))).toBe(true)
    expect(await isSecure(open(other(await secured.database(), { sslmode: 'prefer' })))).toBe(true)
  })
  test('prefer: with TLS too when the server could not be reached at first', async () => {
    await using proxy = await startProxy(secured)
    const db = open(proxy.through(await secured.database()))
    proxy.cut()
    expect(await outcome(db.query('SELECT 1'))).toMatchObject({ error: expect.stringMatching(/ECONNRESET/) })
    proxy.mend()
    expect(await isSecure(db)).toBe(true)
  })
  test('prefer: without TLS when the server has none, for all that begin at a time', async () => {
    const url = await server.database()
    const db = open(url, { connections: 2 })
    expect(await Promise.all([1, 2, 3, 4, 5, 6].map(() => isSecure(db)))).toEqual(Array(6).fill(false))
    expect(await sessions(url)).toBeLessThanOrEqual(2n)
    await (await open(url).connect()).end()
  })
  test('disable: without TLS', async () => {
    expect(await isSecure(open(other(await secured.database(), { sslmode: 'disable' })))).toBe(false)
  })
  test('require: not without TLS', async () => {
    expect(await isSecure(open(other(await secured.database(), { sslmode: 'require' })))).toBe(true)
    expect(await failure(other(await server.database(), { sslmode: 'require' }))).toMatch(
      /^cannot reach PostgreSQL at 127\.0\.0\.1:\d+\/test_\d+: The server does not support SSL connections$/,
    )
  })
  test('verify-full: only with a certificate for this host from this authority', async () => {
    const url = await secured.database()
    const verify = { sslmode: 'verify-full', sslrootcert: secured.ca! }
    expect(await isSecure(open(other(url, { ...verify, host: 'localhost' })))).toBe(true)
    expect(await failure(other(url, verify))).toMatch(/: .*(altnames|IP: 127\.0\.0\.1)/)
    expect(await failure(other(url, { ...verify, host: 'localhost', sslrootcert: stranger.ca! }))).toMatch(
      /sslrootcert names no authority of it; .*: self-signed certificate/,
    )
    expect(await failure(other(url, { sslmode: 'verify-full', host: 'localhost' }))).toMatch(
      / \(NODE_EXTRA_CA_CERTS=\/path\/ca\.pem .*: self-signed certificate/,
    )
    expect(await failure(other(url, { ...verify, sslrootcert: '/nowhere.crt' }))).toMatch(/ENOENT.*nowhere\.crt/)
  })
  test('verify-ca: for whatever host', async () => {
    const url = await secured.database()
    expect(await isSecure(open(other(url, { sslmode: 'verify-ca', sslrootcert: secured.ca! })))).toBe(true)
    expect(await failure(other(url, { sslmode: 'verify-ca', sslrootcert: stranger.ca! }))).toMatch(
      /sslrootcert names no authority of it; .*: self-signed certificate/,
    )
  })
})

describe('migrations', { timeout: 120_000 }, () => {
  const STEPS = ['CREATE TABLE a (n int); INSERT INTO a VALUES (1)', 'ALTER TABLE a ADD m int']

  test('are done once, however many start at a time', async () => {
    const url = await server.database()
    await Promise.all(Array.from({ length: 10 }, () => migrate(open(url), 'part', STEPS)))
    expect(await look(url, 'SELECT * FROM a')).toEqual([{ n: 1n, m: null }])
    expect(await look(url, 'SELECT * FROM client_predict_schema')).toEqual([{ part: 'part', version: 2n }])
  })
  test('go on from the version that is there, each part by itself', async () => {
    const url = await server.database()
    const db = open(url)
    await migrate(db, 'part', STEPS.slice(0, 1))
    await migrate(db, 'other', ['CREATE TABLE b (n int)'])
    await migrate(db, 'part', STEPS)
    await migrate(db, 'part', STEPS)
    expect(await look(url, 'SELECT * FROM a')).toEqual([{ n: 1n, m: null }])
    expect(await look(url, 'SELECT * FROM client_predict_schema ORDER BY part')).toEqual([
      { part: 'other', version: 1n },
      { part: 'part', version: 2n },
    ])
  })
  test('leave nothing of a step that fails', async () => {
    const url = await server.database()
    await expect(migrate(open(url), 'part', [...STEPS, 'SELECT 1 / 0'])).rejects.toThrow('division by zero')
    expect(await look(url, "SELECT to_regclass('a') AS a, to_regclass('client_predict_schema') AS s")).toEqual([
      { a: null, s: null },
    ])
  })
  test('refuse a newer schema, and leave it as it is', async () => {
    const url = await server.database()
    const db = open(url)
    await migrate(db, 'part', STEPS)
    const refusal = migrate(db, 'part', STEPS.slice(0, 1))
    await expect(refusal).rejects.toThrow(
      'part has schema version 2 and this program knows version 1: update the program, or use another database',
    )
    await expect(refusal).rejects.toBeInstanceOf(NewerSchema)
    expect(await look(url, 'SELECT * FROM client_predict_schema')).toEqual([{ part: 'part', version: 2n }])
  })
})

/** Seconds until the system probes the connection that has this port here. */
function keepaliveTimer(port: number): number {
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n')
  const fields = lines
    .map((line) => line.trim().split(/\s+/))
    .find(([, local]) => Number.parseInt(local?.split(':')[1] ?? '', 16) === port)
  const [timer, ticks] = fields?.[5]?.split(':') ?? []
  return timer === '02' ? Number.parseInt(ticks!, 16) / 100 : Number.POSITIVE_INFINITY
}
