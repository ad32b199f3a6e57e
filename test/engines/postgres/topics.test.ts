import { getEventListeners } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type PostgresTopicsOptions, postgresTopics } from '../../../src/engines/postgres/topics.ts'
import { NewerSchema, reason, TakenOver } from '../../../src/io/errors.ts'
import { consume, retry } from '../../../src/run/loop.ts'
import type { TopicName } from '../../../src/topic/topic.ts'
import { startChild } from '../../child.ts'
import { look, type Server, startPostgres } from '../../postgres.ts'
import { startProxy } from '../../proxy.ts'
import { held, listeningLog, prediction, transaction, waitFor } from '../../rows.ts'
import { asked, type AskedTopics as Topics } from '../../topic/asked.ts'
import { candidate } from '../../topic/candidate.ts'
import { topicSuite } from '../../topic/suite.ts'

const DAY = 86_400_000

// Nothing here takes the power from the machine itself.
const startServer = (settings = {}) => startPostgres({ settings: { fsync: 'off', ...settings } })
const server = await startServer()
afterAll(() => server[Symbol.asyncDispose]())

topicSuite(
  'PostgreSQL',
  async () => {
    const url = await server.database()
    return {
      open: () => postgresTopics({ url, log: listeningLog().log }),
      [Symbol.asyncDispose]: async () => {
        await server.sql(`DROP DATABASE ${url.pathname.slice(1)} WITH (FORCE)`)
      },
    }
  },
  { seeds: 20 },
)

let url: URL
beforeEach(async () => {
  url = await server.database()
})

/** Topics in the database as another process would open them, closed at the end of the block. */
async function open(where = url, options: Partial<PostgresTopicsOptions> = {}) {
  const { log, lines, text } = listeningLog()
  const topics = asked(await postgresTopics({ url: where, log, ...options }))
  return {
    ...topics,
    lines,
    /** Resolves when the log has this line. */
    said: (line: string) => waitFor(`"${line}" after: ${text()}`, () => lines.some(({ msg }) => msg === line)),
    [Symbol.asyncDispose]: () => topics.close(),
  }
}
const number = (record: object) => Number((record as { trans_num: string }).trans_num.slice('trans-'.length))
const numbers = (records: readonly object[]) => records.map(number)
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
const transactions = (from: number, to: number) => range(from, to).map((n) => transaction(n))
const predictions = (from: number, to: number) => range(from, to).map((n) => prediction(n))
const kept = async (topics: Topics, topic: TopicName) => numbers(await held(topics, topic))
const soon = () => AbortSignal.timeout(20_000)
const score = (topics: Topics) => topics.reader('transactions', 'score')
const alert = (topics: Topics) => topics.reader('predictions', 'alert')
const failure = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error) => error,
  )
const isCommit = (bytes: Buffer) => bytes.includes('COMMIT')
const standsBy = (name: string) => `another process has its turn as ${name}; standing by`
const hasItsTurn = (name: string) => `it is this process's turn as ${name}`

/** Ends the connection that holds the turn, as the server sees it. */
const endSession = (name: string, where = url) =>
  look(
    where,
    `SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted
     AND objid::bigint = hashtext('${name}')::bit(32)::bigint
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  )
/** From now on the database refuses it. `when` is what a trigger is made with. */
const refuse = (when: string, where = url) =>
  look(
    where,
    `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk is full'; END $$;
     CREATE ${when} FOR EACH ROW EXECUTE FUNCTION refuse()`,
  )
const allow = (table: string, where = url) => look(where, `DROP TRIGGER refuse ON ${table}; DROP FUNCTION refuse`)

/** A process of its own that uses the topics; killed at the end of the block if it lives still. */
const another = (what: string, ...args: unknown[]) =>
  startChild(what, process.execPath, [join(import.meta.dirname, 'process.ts'), what, url.href, ...args.map(String)])

describe('the schema', () => {
  test('is made once by ten workers that start at the same time', async () => {
    const workers = await Promise.all(range(0, 10).map(() => open()))
    await Promise.all(workers.map((topics, n) => topics.append({ transactions: [transaction(n)] })))
    expect((await kept(workers[0]!, 'transactions')).toSorted()).toEqual(range(0, 10))
    expect(await look(url, "SELECT version FROM client_predict_schema WHERE part = 'topics'")).toEqual([
      { version: 3n },
    ])
    await Promise.all(workers.map((topics) => topics.close()))
  })

  test('of a newer program is refused, and left as it is', async () => {
    await (await open()).close()
    await look(url, 'UPDATE client_predict_schema SET version = 4')
    const refusal = await failure(open())
    expect(refusal).toBeInstanceOf(NewerSchema)
    expect(reason(refusal)).toBe(
      'topics has schema version 4 and this program knows version 3: update the program, or use another database',
    )
    await waitFor('all connections to end', async () => (await connections()).length === 0)
    await look(url, 'UPDATE client_predict_schema SET version = 3')
    await (await open()).close()
  })

  test('has no index beside the offset', async () => {
    await (await open()).close()
    const indexes = await look(url, "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'topics'")
    for (const topic of ['transactions', 'predictions', 'dead-letters'])
      expect(indexes.filter(({ tablename }) => tablename === topic)).toMatchObject([
        { indexdef: expect.stringMatching(/^CREATE UNIQUE INDEX .* \("offset"\)$/) },
      ])
  })
})

describe('the order', () => {
  test('is that of the offsets: an append waits for the one before it, and no reader sees it earlier', async () => {
    await using proxy = await startProxy(server)
    await using slow = await open(proxy.through(url))
    await using fast = await open()
    const reader = score(fast)
    const frozen = proxy.freezeBefore(isCommit)
    const first = slow.append({ transactions: [transaction(1)] })
    await frozen
    const second = fast.append({ transactions: [transaction(2)] })
    const reading = reader.read(10, soon())
    // It waits for the row of its topic in `last`, and for nothing else.
    const waits = await waitFor('the second to wait', () =>
      look(
        url,
        "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query NOT LIKE '%pg_stat%'",
      ).then((rows) => rows.length > 0 && rows),
    )
    expect(waits).toMatchObject([{ query: expect.stringMatching(/^UPDATE topics\.last SET/) }])
    await fast.append({ 'dead-letters': [{ stage: 'fetch', at: 0, reason: 'another topic', record: {} }] })
    await sleep(300)
    expect(await kept(fast, 'transactions')).toEqual([])
    proxy.thaw()
    await Promise.all([first, second])
    const seen = numbers((await reading).records)
    while (seen.length < 2) seen.push(...numbers((await reader.read(10, soon())).records))
    expect(seen).toEqual([1, 2])
  })

  test('has no gap and nothing twice for a reader beside three processes that append at once', async () => {
    await using topics = await open()
    await look(url, `ALTER TABLE topics.transactions ADD CHECK (record->>'merchant' <> 'refused')`)
    await using stack = new AsyncDisposableStack()
    const callers = range(0, 3).map((caller) => stack.use(another('append', caller * 1000)))
    await Promise.all(callers.map((caller) => caller.said(1)))
    for (const caller of callers) caller.goOn()
    const total = 3 * 199 // records of a hundred times one, two or three
    const reader = score(topics)
    const seen: number[] = []
    while (seen.length < total) {
      const batch = await reader.read(20, soon())
      seen.push(...numbers(batch.records))
      if (seen.length % 2) await batch.commit(batch.records.length)
    }
    expect(await Promise.all(callers.map((caller) => caller.said(2)))).toEqual(['199', '1199', '2199'])
    for (const caller of range(0, 3))
      expect(seen.filter((n) => Math.floor(n / 1000) === caller)).toEqual(range(caller * 1000, caller * 1000 + 199))
    const stored = await Array.fromAsync(topics.scan('transactions'))
    expect(stored.map(({ id }) => id)).toEqual(range(1, total + 1).map(String))
    expect(numbers(stored.map(({ record }) => record))).toEqual(seen)
  })

  test('is kept, and the lag is exact, when appends are rolled back', async () => {
    await using topics = await open()
    await look(url, `ALTER TABLE topics.transactions ADD CHECK (record->>'merchant' <> 'refused')`)
    const reader = score(topics)
    for (const n of range(0, 5)) {
      const refused = transaction(n, { merchant: 'refused' })
      expect(await failure(topics.append({ transactions: [transaction(n), refused] }))).toBeInstanceOf(Error)
      await topics.append({ transactions: [transaction(n)] })
      expect(await reader.lag()).toBe(n + 1)
    }
    await (await reader.read(9, soon())).commit(3)
    expect(await reader.lag()).toBe(2)
  })
})

describe('a reader that waits', () => {
  /** From now on, whoever looks sees what was there 300 ms ago. */
  const slowDown = () =>
    look(
      url,
      `ALTER TABLE topics.transactions RENAME TO slow;
       CREATE VIEW topics.transactions AS SELECT * FROM topics.slow WHERE (SELECT pg_sleep(0.3)::text) = ''`,
    )

  test('is woken at once by what another process appends', async () => {
    await using topics = await open()
    await using beside = await open()
    const reader = score(topics)
    const waits: number[] = []
    for (const n of range(0, 5)) {
      const reading = reader.read(1, soon())
      await sleep(100) // until it waits
      await beside.append({ transactions: [transaction(n)] })
      const appended = performance.now()
      expect(numbers((await reading).records)).toEqual([n])
      waits.push(performance.now() - appended)
    }
    expect(Math.min(...waits)).toBeLessThan(300)
    expect(Math.max(...waits)).toBeLessThan(2000)
  })

  test('is woken by what is appended while it looks', async () => {
    await using topics = await open()
    await using beside = await open()
    await slowDown()
    const reader = score(topics)
    const waits: number[] = []
    for (const n of range(0, 3)) {
      const reading = reader.read(1, soon())
      await sleep(150)
      await (n === 0 ? topics : beside).append({ transactions: [transaction(n)] })
      const appended = performance.now()
      expect(numbers((await reading).records)).toEqual([n])
      waits.push(performance.now() - appended)
    }
    expect(Math.min(...waits)).toBeLessThan(1000)
  })

  test('that is rewound while it looks begins at the position', async () => {
    await using topics = await open()
    await topics.append({ transactions: transactions(0, 3) })
    const reader = score(topics)
    await reader.read(1, soon())
    await slowDown()
    const reading = reader.read(1, soon())
    await sleep(150)
    reader.rewind()
    expect(numbers((await reading).records)).toEqual([0])
    expect(numbers((await reader.read(1, soon())).records)).toEqual([1])
  })

  test('finds by itself, within a second or so, what it was not told of', async () => {
    await using topics = await open()
    const reading = score(topics).read(1, soon())
    await sleep(100)
    await look(
      url,
      `UPDATE topics.last SET "offset" = 1 WHERE topic = 'transactions';
       INSERT INTO topics.transactions VALUES (1, 0, '{"trans_num":"trans-7"}')`,
    )
    const appended = performance.now()
    expect(numbers((await reading).records)).toEqual([7])
    expect(performance.now() - appended).toBeLessThan(3000)
  })

  test('asks about once a second', async () => {
    await using proxy = await startProxy(server)
    await using topics = await open(proxy.through(url))
    const reading = failure(score(topics).read(1, AbortSignal.timeout(2500)))
    await sleep(500)
    let questions = 0
    void proxy.freezeBefore((bytes) => {
      questions += Number(bytes.includes('SELECT'))
      return false
    })
    await reading
    expect(questions).toBeGreaterThanOrEqual(1)
    expect(questions).toBeLessThanOrEqual(3)
  })

  test('is aborted at once, and so is one that stands by', async () => {
    await using first = await open()
    await using second = await open()
    const stop = new AbortController()
    await candidate(first, 'alert').term()
    const waiting = failure(alert(first).read(1, stop.signal))
    const standing = failure(alert(second).read(1, stop.signal))
    const taking = failure(second.lead('alert', stop.signal, async () => {}))
    await second.said(standsBy('alert'))
    await sleep(300)
    stop.abort(new Error('stopped'))
    const aborted = performance.now()
    for (const error of [await waiting, await standing, await taking]) expect(error).toBe(stop.signal.reason)
    expect(performance.now() - aborted).toBeLessThan(5000) // they would wait for 20 s
  })

  test('leaves nothing behind: no listener on the signal, no timer', async () => {
    await using topics = await open()
    const { signal } = new AbortController()
    const reader = score(topics)
    const timers = () => process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length
    const before = timers()
    for (const n of range(0, 30)) {
      const reading = reader.read(1, signal)
      await topics.append({ transactions: [transaction(n)] })
      await reading
    }
    expect(getEventListeners(signal, 'abort')).toEqual([])
    const touched = vi.spyOn(signal, 'removeEventListener')
    await topics.append({ transactions: [transaction(30)] })
    await sleep(100)
    expect(touched).not.toHaveBeenCalled()
    expect(timers() - before).toBeLessThan(10)
  })
})

describe('one process at a time', () => {
  test('reads under a name: the second stands by and says so, and goes on when the first closes', async () => {
    await using first = await open()
    await using second = await open()
    await first.append({ transactions: transactions(0, 3) })
    await (await score(first).read(3, soon())).commit(2)
    const reading = score(second).read(3, soon())
    await second.said(standsBy('score'))
    await sleep(1500) // it asks again
    await first.close()
    const closed = performance.now()
    expect(numbers((await reading).records)).toEqual([2])
    expect(performance.now() - closed).toBeLessThan(3000)
    expect(second.lines.map(({ level, msg }) => [level, msg])).toEqual([
      ['info', standsBy('score')],
      ['info', hasItsTurn('score')],
    ])
    expect(first.lines).toEqual([])
  })

  test('reads under a name, and another one under another', async () => {
    await using first = await open()
    await using second = await open()
    await first.append({ predictions: [prediction(1)] })
    await alert(first).read(1, soon())
    await second.reader('predictions', 'record').read(1, soon())
    expect(second.lines).toEqual([])
  })

  test('leads in work outside the topics; that passes on like a reader', async () => {
    const told: unknown[] = []
    await using first = await open()
    await using second = await open(url, { standby: (...event) => told.push(event) })
    await candidate(first, 'fetch').term()
    const next = candidate(second, 'fetch')
    await second.said(standsBy('fetch'))
    expect(told).toEqual([['fetch', true]])
    await first.close()
    await next.term()
    await second.said(hasItsTurn('fetch'))
    expect(told).toEqual([
      ['fetch', true],
      ['fetch', false],
    ])
  })

  test('goes on at once when the process before is killed', async () => {
    await using topics = await open()
    await topics.append({ transactions: transactions(0, 2) })
    await using killed = another('hold')
    expect(await killed.said(1)).toBe('trans-0')
    const reading = score(topics).read(2, soon())
    await topics.said(standsBy('score'))
    await killed.kill()
    const ended = performance.now()
    expect(numbers((await reading).records)).toEqual([0, 1])
    expect(performance.now() - ended).toBeLessThan(3000)
  })

  test('goes on at once when the connection of the process before is cut; what that had in hand is void', async () => {
    await using proxy = await startProxy(server)
    await using former = await open(proxy.through(url))
    await using next = await open()
    await former.append({ predictions: predictions(0, 3) })
    const lease = await candidate(former, 'alert').term()
    const lost = await alert(former).read(3, soon())
    await lost.commit(1)
    const other = candidate(next, 'alert')
    await next.said(standsBy('alert'))
    proxy.cut()
    await other.term()
    proxy.mend()
    const refusal = await failure(lease.note({ by: 'former' }))
    expect(refusal).toBeInstanceOf(TakenOver)
    expect(refusal).toBe(lease.lost.reason)
    expect(refusal).toBe(lease.stop.reason)
    expect(refusal.message).toBe('another process has taken over as alert')
    expect(await failure(lease.note({}))).toBe(refusal)
    const late = { transactions: [transaction(1)] }
    expect(await failure(lost.commit(1, late, { by: 'former' }))).toBe(refusal)
    const reader = alert(next)
    const batch = await reader.read(3, soon())
    expect(numbers(batch.records)).toEqual([1, 2])
    await batch.commit(1, late, { by: 'next' })
    expect(await failure(lost.commit(0, {}, { by: 'former' }))).toBe(refusal)
    expect(await kept(next, 'transactions')).toEqual([1])
    expect(await reader.lag()).toBe(1)
    expect(await next.noted('by')).toBe('next')
  })

  test.for(['alert', 'fetch'] as const)(
    'notes nothing as %s once another one leads, and hears of it by itself',
    async (name) => {
      await using proxy = await startProxy(server)
      await using former = await open(proxy.through(url))
      await using next = await open()
      const lease = await candidate(former, name).term()
      const other = candidate(next, name)
      await next.said(standsBy(name))
      proxy.cut()
      const theirs = await other.term()
      expect(lease.lost.aborted).toBe(false) // it cannot know
      proxy.mend()
      await waitFor('it to hear of it', () => lease.lost.aborted)
      expect(await failure(lease.note({ by: 'former' }))).toBe(lease.lost.reason)
      await theirs.note({ by: 'next' })
      await theirs.note({})
      expect(await next.noted('by')).toBe('next')
      expect([lease.stop.aborted, theirs.stop.aborted]).toEqual([true, false])
    },
  )

  test('takes over only after a commit of the process before that is under way', async () => {
    await using proxy = await startProxy(server)
    await using former = await open(proxy.through(url))
    await using next = await open()
    await former.append({ transactions: transactions(0, 2) })
    const batch = await score(former).read(2, soon())
    const reader = score(next)
    const reading = reader.read(2, soon())
    await next.said(standsBy('score'))
    const frozen = proxy.freezeBefore(isCommit)
    const committing = batch.commit(1, { predictions: [prediction(0)] })
    await frozen
    await endSession('score')
    await sleep(2000)
    expect(next.lines.map(({ msg }) => msg)).toEqual([standsBy('score')])
    proxy.thaw()
    await committing
    expect(numbers((await reading).records)).toEqual([1])
    expect(await failure(batch.commit(1))).toBeInstanceOf(TakenOver)
    expect(await kept(next, 'predictions')).toEqual([0])
  })

  test('leads in one term until another one has led in between, and only until then', async () => {
    await using proxy = await startProxy(server)
    await using first = await open(proxy.through(url))
    await using second = await open()
    await first.append({ predictions: predictions(0, 2) })
    const one = candidate(first, 'alert')
    const lease = await one.term()
    const batch = await alert(first).read(1, soon())
    await endSession('alert') // and nobody takes over
    await waitFor('its turn', async () => (await holders()).length)
    await batch.commit(1)
    await lease.note({})
    const two = candidate(second, 'alert')
    await second.said(standsBy('alert'))
    proxy.cut()
    await two.term()
    expect(lease.lost.aborted).toBe(false)
    proxy.mend()
    await first.said(standsBy('alert'))
    expect(lease.lost.aborted).toBe(true)
    await second.close()
    await one.term(2)
    expect(one.leases.map(({ stop }) => stop.aborted)).toEqual([true, false])
  })

  test('leads in a term that has begun though who asked for it was stopped just then', async () => {
    await using proxy = await startProxy(server)
    await using topics = await open(proxy.through(url))
    const stop = new AbortController()
    const committing = proxy.freezeBefore(isCommit)
    const leading = failure(topics.lead('alert', stop.signal, async () => {}))
    await committing
    stop.abort(new Error('stopped'))
    expect(await leading).toBe(stop.signal.reason)
    proxy.thaw()
    await waitFor(
      'the turn',
      async () => (await look(url, 'SELECT FROM topics.position WHERE holder IS NOT NULL')).length,
    )
    await (await candidate(topics, 'alert').term()).note({ it: 1 })
  })

  test('whose turn comes back begins anew: a batch from before another one had it stays void', async () => {
    await using proxy = await startProxy(server)
    await using first = await open(proxy.through(url))
    await using second = await open()
    await first.append({ predictions: predictions(0, 2) })
    const mine = candidate(first, 'alert')
    const before = await mine.term()
    const lost = await alert(first).read(2, soon())
    const other = candidate(second, 'alert')
    await second.said(standsBy('alert'))
    proxy.cut()
    await other.term()
    proxy.mend()
    await first.said(standsBy('alert'))
    await second.close()
    const now = await mine.term(2)
    const batch = await alert(first).read(2, soon())
    expect(numbers(batch.records)).toEqual([0, 1])
    expect(await failure(lost.commit(2, {}, { by: 'lost' }))).toBe(before.lost.reason)
    expect(await failure(before.note({ by: 'lost' }))).toBe(before.lost.reason)
    await batch.commit(1)
    expect([await alert(first).lag(), await first.noted('by')]).toEqual([1, undefined])
    await now.note({ by: 'first' })
    expect(await first.noted('by')).toBe('first')
  })

  test('that learns of it by a commit stands by', async () => {
    await using first = await open()
    await first.append({ predictions: predictions(0, 2) })
    const mine = candidate(first, 'alert')
    const { lost } = await mine.term()
    const batch = await alert(first).read(1, soon())
    await look(url, "UPDATE topics.position SET holder = 'somebody'") // the lock is lost unnoticed, as a server fails over
    const refusal = await failure(batch.commit(1))
    expect(refusal).toBeInstanceOf(TakenOver)
    expect(refusal).toBe(lost.reason)
    await mine.term(2)
    expect(numbers((await alert(first).read(2, soon())).records)).toEqual([0, 1])
  })

  test('keeps its turn and what it has in hand over a break of its connections', async () => {
    await using proxy = await startProxy(server)
    await using topics = await open(proxy.through(url))
    const reader = alert(topics)
    const leaders = [candidate(topics, 'alert'), candidate(topics, 'fetch')]
    await topics.append({ predictions: predictions(0, 4) })
    const [lease] = await Promise.all(leaders.map(({ term }) => term()))
    const batch = await reader.read(2, soon())
    proxy.cut()
    expect(await failure(batch.commit(1))).toMatchObject({ message: 'cannot write the topics' })
    expect(reason(await failure(reader.read(1, soon())))).toMatch(/^cannot .*ECONNRESET/)
    expect(reason(await failure(reader.lag()))).toMatch(/^cannot read the topics: cannot reach PostgreSQL at /)
    await topics.append({ transactions: [] }) // for nothing nobody is asked
    proxy.mend()
    await batch.commit(1)
    expect(numbers((await reader.read(1, soon())).records)).toEqual([2])
    await batch.commit(1)
    await lease!.note({})
    expect(leaders.map(({ leases }) => leases.length)).toEqual([1, 1])
    expect(await reader.lag()).toBe(2)
    expect(topics.lines).toEqual([])
  })

  test('whose connection is ended while it waits has its turn again at once', async () => {
    await using topics = await open()
    const reading = score(topics).read(1, soon())
    const waits: number[] = []
    for (let times = 0; times < 3; times++) {
      await waitFor('its turn', async () => (await holders()).length)
      await sleep(100)
      await endSession('score')
      const ended = performance.now()
      await waitFor('its turn', async () => (await holders()).length)
      waits.push(performance.now() - ended)
    }
    expect(Math.min(...waits)).toBeLessThan(500)
    await topics.append({ transactions: [transaction(1)] })
    expect(numbers((await reading).records)).toEqual([1])
  })

  test('takes its turn back from its own former connection, which the server believes alive', async () => {
    await using line = await startLine(server)
    await using topics = await open(line.through(url))
    const reader = alert(topics)
    const leaders = [candidate(topics, 'alert'), candidate(topics, 'fetch')]
    await topics.append({ predictions: predictions(0, 3) })
    const leases = await Promise.all(leaders.map(({ term }) => term()))
    const batch = await reader.read(2, soon())
    for (let times = 0; times < 2; times++) {
      const before = (await connections()).length
      line.lose()
      await waitFor('a new connection', async () => {
        await Promise.all(leases.map((lease) => lease.note({}))).catch(() => {})
        return (await connections()).length >= before
      })
      for (const lease of leases) await lease.note({})
      await batch.commit(1)
    }
    expect(numbers((await reader.read(1, soon())).records)).toEqual([2])
    expect(leaders.map(({ leases }) => leases.length)).toEqual([1, 1])
    expect(topics.lines).toEqual([])
  })

  test('goes first after an outage of the server, as it has work in hand; only then the next', async () => {
    await using own = await startServer()
    const where = await own.database()
    await using first = await open(where)
    await using second = await open(where)
    await first.append({ transactions: transactions(0, 2) })
    const next = score(second)
    await (await next.read(1, soon())).commit(0) // that was before, and does not count
    const reading = score(first).read(2, soon())
    await first.said(standsBy('score'))
    await endSession('score', where)
    const batch = await reading
    const taking = repeat(() => next.read(2, soon()))
    await second.said(standsBy('score'))
    await own.stop()
    await sleep(500)
    await own.start()
    await waitFor('the second', async () => (await connections(where)).some(({ query }) => query === 'LISTEN topics'))
    await sleep(1200) // the first is in a pause
    await batch.commit(1)
    await first.close()
    expect(numbers((await taking).records)).toEqual([1])
    expect(second.lines.map(({ msg }) => msg)).toEqual([
      standsBy('score'),
      'the process that had its turn as score before the outage goes first; standing by',
      hasItsTurn('score'),
    ])
  })

  test('goes first for a minute at most, however long the outage was', async () => {
    await using own = await startServer()
    const where = await own.database()
    vi.useFakeTimers({ toFake: ['performance'] })
    try {
      await using first = await open(where)
      await using second = await open(where)
      await first.append({ transactions: [transaction(1)] })
      await score(first).read(1, soon())
      const taking = repeat(() => score(second).read(1, soon()))
      await second.said(standsBy('score'))
      await own.stop()
      await first.close()
      await sleep(500) // until the second knows
      vi.advanceTimersByTime(DAY)
      await own.start()
      await second.said('the process that had its turn as score before the outage goes first; standing by')
      vi.advanceTimersByTime(61_000)
      expect(numbers((await taking).records)).toEqual([1])
    } finally {
      vi.useRealTimers()
    }
  })

  test('is not what a command beside it becomes: it has no part in it', async () => {
    await using worker = await open()
    await using command = await open(url)
    await worker.append({ transactions: [transaction(1)] })
    await score(worker).read(1, soon())
    await command.append({ transactions: [transaction(2)] })
    expect(await kept(command, 'transactions')).toEqual([1, 2])
    expect(await score(command).lag()).toBe(2)
    expect(await holders()).toHaveLength(1)
  })
})

describe('a hand-over', () => {
  test('that fails at its very last step leaves no record, no position and no note', async () => {
    await using topics = await open()
    await topics.append({ transactions: [transaction(1)] })
    const reader = score(topics)
    const batch = await reader.read(1, soon())
    await refuse('CONSTRAINT TRIGGER refuse AFTER INSERT ON topics.note DEFERRABLE INITIALLY DEFERRED')
    const handOver = () => batch.commit(1, { predictions: [prediction(1)] }, { a: 1 })
    expect(reason(await failure(handOver()))).toBe('cannot write the topics: disk is full')
    expect(await kept(topics, 'predictions')).toEqual([])
    expect([await reader.lag(), await alert(topics).lag(), await topics.noted('a')]).toEqual([1, 0, undefined])
    await allow('topics.note')
    await handOver()
    expect([await reader.lag(), await alert(topics).lag(), await topics.noted('a')]).toEqual([0, 1, 1])
  })

  test('of more records than are left is a bug, and moves nothing', async () => {
    await using topics = await open()
    await topics.append({ transactions: transactions(0, 3) })
    const reader = score(topics)
    const batch = await reader.read(2, soon())
    await batch.commit(1)
    await batch.commit(0)
    for (const count of [2, -1, 0.5]) await expect(batch.commit(count, {}, { a: 1 })).rejects.toThrow(RangeError)
    expect([await reader.lag(), await topics.noted('a')]).toEqual([2, undefined])
  })

  test('is there whole or not at all when its process is killed', async () => {
    await using topics = await open()
    await topics.append({ transactions: transactions(0, 1000) })
    for (let kill = 1; kill <= 2; kill++) {
      await using worker = another('handOver')
      await worker.said(30)
      await worker.kill()
      const reader = score(topics)
      await waitFor('the server to notice', async () => (await holders()).length === 0)
      const predicted = await kept(topics, 'predictions')
      expect(predicted).toEqual(range(0, predicted.length))
      expect(await reader.lag()).toBe(1000 - predicted.length)
      expect(await topics.noted('last')).toBe(`trans-${predicted.length - 1}`)
      expect(predicted.length).toBeGreaterThan(Number(worker.lines().at(-1)?.slice('trans-'.length)))
    }
  })

  test('cut off by the death of the server leaves nothing, and is done once when it is tried again', async () => {
    await using own = await startServer()
    const where = await own.database()
    await using proxy = await startProxy(own)
    await using topics = await open(proxy.through(where))
    await topics.append({ transactions: [transaction(1)] })
    const batch = await score(topics).read(1, soon())
    const committing = proxy.freezeBefore(isCommit)
    const handOver = () => batch.commit(1, { predictions: [prediction(1)] }, { a: 1 })
    const dying = failure(handOver())
    await committing
    await own.kill()
    proxy.cut()
    await own.start()
    proxy.mend()
    expect(await dying).toBeInstanceOf(Error)
    expect(await kept(topics, 'predictions')).toEqual([])
    expect([await score(topics).lag(), await topics.noted('a')]).toEqual([1, undefined])
    await handOver()
    expect(await kept(topics, 'predictions')).toEqual([1])
    expect([await score(topics).lag(), await topics.noted('a')]).toEqual([0, 1])
  })
})

describe('a write', () => {
  /** Each is done once, and can be seen. */
  const writes: Record<string, (topics: Topics) => Promise<{ write(): Promise<void>; seen(): Promise<unknown> }>> = {
    append: async (topics) => ({
      write: () => topics.append({ transactions: [transaction(1)], predictions: [prediction(1)] }),
      seen: async () => [await kept(topics, 'transactions'), await kept(topics, 'predictions')],
    }),
    commit: async (topics) => {
      await topics.append({ transactions: [transaction(1)] })
      const batch = await score(topics).read(1, soon())
      return {
        write: () => batch.commit(1, { predictions: [prediction(1)] }),
        seen: async () => [[1 - (await score(topics).lag())].filter(Boolean), await kept(topics, 'predictions')],
      }
    },
    note: async (topics) => ({
      write: () => topics.append({}, { a: 1, b: 1 }),
      seen: async () => [[await topics.noted('a')].filter(Boolean), [await topics.noted('b')].filter(Boolean)],
    }),
  }

  test.for(Object.keys(writes))('whose answer is lost is found out: %s is neither doubled nor lost', async (name) => {
    await using proxy = await startProxy(server)
    await using topics = await open(proxy.through(url))
    await using beside = await open()
    const { write, seen } = await writes[name]!(topics)
    for (const lost of ['the commit', 'its answer'] as const) {
      const committing = lost === 'the commit' ? proxy.freezeBefore(isCommit) : proxy.freezeAnswersTo(isCommit)
      const writing = failure(write())
      await committing
      if (lost === 'its answer') await waitFor('the commit', () => isThere(beside, name))
      proxy.cut()
      proxy.mend()
      if (lost === 'its answer') expect(await writing).toBeUndefined()
      else expect(reason(await writing)).toMatch(/^cannot write the topics: .*(ECONNRESET|terminated)/)
      expect(await seen()).toEqual(lost === 'its answer' ? [[1], [1]] : [[], []])
    }
  })
  const isThere = async (topics: Topics, name: string) =>
    name === 'note' ? await topics.noted('a') : (await kept(topics, 'predictions')).length

  test('is durable when it resolves, even if the server loses its power at that moment', async () => {
    await using own = await startServer({ synchronous_commit: 'off', wal_writer_delay: '10s' })
    const where = await own.database()
    await using topics = await open(where)
    await topics.append({ transactions: transactions(0, 3) })
    await (await score(topics).read(3, soon())).commit(2, {}, { a: 1 })
    await own.kill()
    await own.start()
    await using again = await open(where)
    expect(await kept(again, 'transactions')).toEqual([0, 1, 2])
    expect([await score(again).lag(), await again.noted('a')]).toEqual([1, 1])
  })

  test('of the same notes by two processes, in opposite orders, is not held up', async () => {
    await using topics = await open()
    await using beside = await open()
    const keys = range(0, 3000).map(String)
    const notes = (order: string[]) => Object.fromEntries(order.map((key) => [`key ${key}`, key]))
    for (let times = 0; times < 3; times++)
      await Promise.all([topics.append({}, notes(keys)), beside.append({}, notes(keys.toReversed()))])
    expect(await topics.noted('key 7')).toBe('7')
  })

  test('to the same topics by two processes, named in opposite orders, is not held up', async () => {
    await using proxy = await startProxy(server)
    await using topics = await open(proxy.through(url))
    await using beside = await open()
    const half = proxy.freezeBefore((bytes) => bytes.includes('INSERT INTO topics'))
    const first = topics.append({ predictions: [prediction(1)], transactions: [transaction(1)] })
    await half
    const second = beside.append({ transactions: [transaction(2)], predictions: [prediction(2)] })
    const waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE topics.last%'"
    await waitFor('the second to wait', async () => (await look(url, waits)).length)
    proxy.thaw()
    await Promise.all([first, second])
    expect([await kept(beside, 'transactions'), await kept(beside, 'predictions')]).toEqual([
      [1, 2],
      [1, 2],
    ])
  })

  test('that fails says what, and why', async () => {
    await using topics = await open()
    await refuse('TRIGGER refuse BEFORE INSERT ON topics.transactions')
    expect(reason(await failure(topics.append({ transactions: [transaction(1)] })))).toBe(
      'cannot write the topics: disk is full',
    )
    await allow('topics.transactions')
    await refuse('TRIGGER refuse BEFORE UPDATE ON topics.position')
    expect(reason(await failure(score(topics).read(1, soon())))).toBe('cannot take over as score: disk is full')
  })
})

describe.concurrent('within the deadlines', () => {
  test('what a process that stands still has left half done no longer holds up the others', async () => {
    const where = await server.database()
    await using proxy = await startProxy(server)
    await using still = await open(proxy.through(where))
    await using others = await open(where)
    const halfDone = proxy.freezeBefore((bytes) => bytes.includes('NOTIFY topics'))
    const lost = failure(still.append({ transactions: [transaction(1)] }))
    await halfDone
    await repeat(() => others.append({ transactions: [transaction(2)] }), 30_000)
    proxy.thaw()
    expect(await lost).toBeInstanceOf(Error)
    await repeat(() => still.append({ transactions: [transaction(1)] }))
    expect(await kept(others, 'transactions')).toEqual([2, 1])
  })

  test.for([
    ['begins', 'LISTEN topics'],
    ['asks', 'pg_try_advisory_lock'],
  ])(
    'a connection for turns that gets no answer when it %s is ended, and another one is made',
    async ([, question]) => {
      const where = await server.database()
      await using proxy = await startProxy(server)
      await using topics = await open(proxy.through(where))
      const asking = proxy.freezeAnswersTo((bytes) => bytes.includes(question!))
      await topics.append({ transactions: [transaction(1)], predictions: [prediction(1)] })
      const readers = [score(topics), alert(topics)]
      const unanswered = readers.map((reader) => failure(reader.read(1, AbortSignal.timeout(30_000))))
      await asking
      const before = new Set((await connections(where)).map(({ pid }) => pid))
      for (const error of unanswered)
        expect(reason(await error)).toBe('the connection that listens and takes turns broke: Query read timeout')
      proxy.thaw()
      for (const reader of readers) expect(numbers((await reader.read(1, soon())).records)).toEqual([1])
      await waitFor('the other to end', async () => {
        const open = await connections(where)
        return open.filter(({ pid, query }) => before.has(pid) && String(query).includes(question!)).length === 0
      })
    },
  )
})

describe('trimming', () => {
  /** Three transactions, of which two are scored. */
  async function scored() {
    const topics = await open()
    await topics.append({ transactions: transactions(0, 3) })
    await (await score(topics).read(9, soon())).commit(2)
    return topics
  }
  const LATER = Date.now() + DAY

  test('by three workers at a time removes the same', async () => {
    await using one = await scored()
    await using two = await open()
    await Promise.all([one, two, one].map((topics) => topics.trim(LATER, ['shadow'])))
    expect(await kept(one, 'transactions')).toEqual([2])
  })

  test('that fails, e.g. on a full disk, removes nothing, and does it later', async () => {
    await using topics = await scored()
    await refuse('TRIGGER refuse BEFORE DELETE ON topics.transactions')
    await expect(topics.trim(LATER, ['shadow'])).rejects.toThrow('disk is full')
    await topics.append({ transactions: [transaction(3)] })
    expect(await kept(topics, 'transactions')).toEqual([0, 1, 2, 3])
    await allow('topics.transactions')
    await topics.trim(LATER, ['shadow'])
    expect(await kept(topics, 'transactions')).toEqual([2, 3])
  })
})

describe('the end', () => {
  test('leaves no connection, and nothing that keeps the process', async () => {
    await using topics = await open()
    await topics.append({ transactions: transactions(0, 2), predictions: [prediction(1)] })
    const stop = new AbortController()
    const reader = alert(topics)
    const waiting = failure(reader.read(2, stop.signal).then(() => reader.read(2, stop.signal)))
    const fetching = candidate(topics, 'fetch')
    await fetching.term()
    await using beside = another('hold')
    await beside.said(1)
    beside.goOn()
    expect(await beside.ended).toBe(0)
    stop.abort(new Error('stopped'))
    expect(await waiting).toBe(stop.signal.reason)
    await fetching.end()
    await topics.close()
    await waitFor('all connections to end', async () => (await connections()).length === 0)
    expect(await failure(topics.append({ transactions: [transaction(1)] }))).toBeInstanceOf(Error)
    expect(await failure(score(topics).read(1, soon()))).toBeInstanceOf(Error)
    expect(await connections()).toEqual([])
    const closedAtOnce = await open()
    const reading = failure(score(closedAtOnce).read(1, soon()))
    await closedAtOnce.close()
    expect(await reading).toBeInstanceOf(Error)
    await waitFor('all connections to end', async () => (await connections()).length === 0)
  })

  test('is the end of all connections, even if one of them gets no answer to its goodbye', async () => {
    await using proxy = await startProxy(server)
    await using topics = await open(proxy.through(url))
    const fetching = candidate(topics, 'fetch')
    await fetching.term()
    proxy.freeze()
    await fetching.end()
    await topics.close()
    const late = await failure(topics.append({ transactions: [transaction(1)] }))
    expect(reason(late)).toMatch(/^cannot write the topics: .*: the connection is closed$/)
  })

  test('comes within seconds, and a read is aborted at once, whatever the server is in', async () => {
    await using own = await startServer()
    const where = await own.database()
    await using proxy = await startProxy(own)
    const outages: Record<string, { begin: () => unknown; end: () => unknown }> = {
      'the server stands still': { begin: own.freeze, end: own.thaw },
      'the network stands still': { begin: proxy.freeze, end: proxy.thaw },
      'the network is cut': { begin: proxy.cut, end: proxy.mend },
      'the server is down': { begin: own.stop, end: own.start },
    }
    for (const [name, { begin, end }] of Object.entries(outages)) {
      const topics = await open(proxy.through(where))
      await using unconnected = await open(proxy.through(where)) // to listen and take turns
      await topics.append({ transactions: transactions(0, 2) })
      const reader = score(topics)
      await reader.read(1, soon())
      const fetching = candidate(topics, 'fetch')
      await fetching.term()
      const stop = new AbortController()
      const waiting = failure(alert(topics).read(1, stop.signal)) // nothing is there
      await begin()
      const inHand = failure(topics.append({ transactions: [transaction(1)] }))
      const works = [
        repeat(() => reader.read(1, stop.signal)),
        repeat(() => topics.reader('predictions', 'record').read(1, stop.signal)),
        repeat(() => score(unconnected).read(1, stop.signal)),
      ].map(failure)
      await sleep(300)
      stop.abort(new Error(name))
      const aborted = performance.now()
      const failures = await Promise.all(works)
      await Promise.all([waiting, fetching.end()])
      expect.soft(performance.now() - aborted, name).toBeLessThan(5000)
      for (const error of failures) expect.soft(error, name).toBe(stop.signal.reason)
      const closing = performance.now()
      await topics.close()
      expect.soft(performance.now() - closing, name).toBeLessThan(5000) // an answer is waited for 12 s
      await end()
      await inHand
    }
  })
})

test('whatever the server and the network do, three parties go on by themselves: nothing lost, twice, or out of order', {
  timeout: 180_000,
}, async () => {
  await using own = await startServer()
  const where = await own.database()
  await using proxy = await startProxy(own)
  await using appending = await open(proxy.through(where))
  await using handingOver = await open(proxy.through(where))
  await using reading = await open(where)
  const stop = new AbortController()
  const { log, text } = listeningLog()
  const stage = { log, stop: stop.signal }
  let appended = 0
  let enough = false
  const done: number[] = []
  async function append() {
    for (; !enough; appended++) {
      await retry(stage, () => appending.append({ transactions: [transaction(appended)] }))
      await sleep(5)
    }
  }
  const parties = [
    append(),
    consume(
      stage,
      score(handingOver),
      () => 5,
      async (batch) => {
        const predictions = batch.records.map((t) => ({ ...prediction(0), ...t }))
        await batch.commit(batch.records.length, { predictions }, { last: predictions.at(-1)!.trans_num })
      },
    ),
    consume(
      stage,
      alert(reading),
      () => 5,
      async (batch) => {
        for (const record of batch.records) {
          await batch.commit(1)
          done.push(number(record))
        }
      },
    ),
  ]
  const inTurn = async (...steps: (() => unknown)[]) => {
    for (const step of steps) await step()
  }
  const { cut, mend } = proxy
  const outages: Record<string, () => Promise<unknown>> = {
    'stopped and started': () => inTurn(own.stop, own.start),
    'broken off': () => inTurn(() => own.stop('immediate'), own.start),
    'without power': () => inTurn(own.kill, own.start),
    'frozen for a while': () => inTurn(own.freeze, () => sleep(1500), own.thaw),
    'cut off': () => inTurn(cut, () => sleep(500), mend),
    'frozen, then cut off': () => inTurn(proxy.freeze, () => sleep(1000), cut, mend),
    'cut off from an answer': () =>
      inTurn(
        () => proxy.freezeAnswersTo(isCommit),
        () => sleep(100),
        cut,
        mend,
      ),
    'without power in a commit': () => inTurn(() => proxy.freezeAnswersTo(isCommit), own.kill, cut, own.start, mend),
  }
  for (const [name, happens] of Object.entries(outages)) {
    await happens()
    const before = done.length
    await waitFor(`progress after the server was ${name}: ${text()}`, () => done.length > before + 30, 40_000)
  }
  enough = true
  await parties[0]
  await waitFor(`the rest: ${text()}`, () => done.length >= appended, 40_000)
  stop.abort(new Error('enough'))
  await Promise.all(parties)
  expect(done).toEqual(range(0, appended))
  expect(await kept(reading, 'transactions')).toEqual(range(0, appended))
  expect(await kept(reading, 'predictions')).toEqual(range(0, appended))
  expect(await reading.noted('last')).toBe(`trans-${appended - 1}`)
})

/** Tries until it works, every 50 ms; what was aborted is over. */
async function repeat<T>(action: () => Promise<T>, ms = 20_000): Promise<T> {
  for (const end = Date.now() + ms; ; await sleep(50)) {
    try {
      return await action()
    } catch (error) {
      if (Date.now() > end || (error as Error).name !== 'Error' || !/^c|^the connection/.test((error as Error).message))
        throw error
    }
  }
}

/** What the workers have open in the database. */
const connections = (where = url) =>
  look(
    where,
    "SELECT pid, query FROM pg_stat_activity WHERE application_name = 'client-predict' AND datname = current_database()",
  )
/** Those of them that hold a turn. */
const holders = (where = url) =>
  look(
    where,
    `SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  )

/** A line to the server that can be lost as by a router that forgets it: the clients are told, the server is not. */
async function startLine({ port }: Pick<Server, 'port'>) {
  const [clients, engines] = [new Set<Socket>(), new Set<Socket>()]
  const line = createServer((client) => {
    const engine = connect(port, '127.0.0.1')
    clients.add(client.on('error', () => {}))
    engines.add(engine.on('error', () => {}))
    client.on('data', (bytes) => engine.write(bytes))
    client.on('end', () => engine.end())
    engine.on('data', (bytes) => client.write(bytes)).on('end', () => client.end())
  })
  await new Promise<void>((resolve) => line.listen(0, '127.0.0.1', resolve))
  const { port: own } = line.address() as { port: number }
  return {
    through: (to: URL) => Object.assign(new URL(to), { host: `127.0.0.1:${own}` }),
    lose() {
      for (const client of clients) client.resetAndDestroy()
      clients.clear()
    },
    async [Symbol.asyncDispose]() {
      for (const socket of [...clients, ...engines]) socket.destroy()
      await new Promise((resolve) => line.close(resolve))
    },
  }
}
