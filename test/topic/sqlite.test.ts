import { getEventListeners } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, readlinkSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync, StatementSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { isBug, reason } from '../../src/io/errors.ts'
import { openSqlite } from '../../src/io/sqlite.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import type { SqliteTopicsOptions } from '../../src/topic/sqlite.ts'
import { smallDisk } from '../campaign/disk.ts'
import { startChild } from '../child.ts'
import { listeningLog, prediction, tempDir, transaction } from '../rows.ts'
import { sqliteTopics, type AskedTopics as Topics } from './asked.ts'
import { topicSuite } from './suite.ts'

const DAY = 86_400_000

topicSuite('SQLite', async () => {
  const dir = await tempDir()
  return {
    open: () => sqliteTopics({ path: dir.file('topics.db'), exclusive: true }),
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  }
})

let dir: Awaited<ReturnType<typeof tempDir>>
let path: string
beforeEach(async () => {
  dir = await tempDir()
  path = dir.file('topics.db')
})
afterEach(() => dir[Symbol.asyncDispose]())

/** Topics in `path`, closed at the end of the block. */
async function open(options: Partial<SqliteTopicsOptions> = {}): Promise<Topics & AsyncDisposable> {
  const topics = await sqliteTopics({ path, exclusive: true, ...options })
  return { ...topics, [Symbol.asyncDispose]: () => topics.close() }
}
/** What the worker would print if it could not open. */
const refusal = (opening: Promise<Topics>) =>
  opening.then(async (topics) => {
    await topics.close()
    return 'opened'
  }, reason)
/** Looks into a SQLite file past the code that owns it. */
function inside<T>(look: (db: DatabaseSync) => T, file = path): T {
  using db = new DatabaseSync(file)
  return look(db)
}
const numbers = (records: readonly object[]) =>
  records.map((record) => Number((record as { trans_num: string }).trans_num.slice('trans-'.length)))
const kept = async (topics: Topics, topic: 'transactions' | 'predictions') =>
  numbers((await Array.fromAsync(topics.scan(topic))).map(({ record }) => record))
const soon = () => AbortSignal.timeout(20_000)

/**
 * A process of its own that uses the topics in `path`; killed at the end of the block if it lives still. `blocks` is
 * how large a file may become, which is as good as a full disk.
 */
function another(what: string, { blocks = 0 } = {}) {
  const program = [process.execPath, join(import.meta.dirname, 'process.ts'), what, path]
  const [command, ...args] = blocks > 0 ? ['sh', '-c', `ulimit -f ${blocks}; exec "$@"`, 'sh', ...program] : program
  return startChild(what, command!, args)
}

describe('a SQLite file', () => {
  const SCHEMA = ['CREATE TABLE t (a)']
  const file = () => dir.file('a/new/folder/file.db')
  const opening = () => {
    try {
      openSqlite(file(), SCHEMA).close()
      return 'opened'
    } catch (error) {
      return reason(error)
    }
  }
  /** SQLite as it may be elsewhere: `spoil` is done to a connection before or after its settings are made, or before a write. */
  function engine(when: 'new' | 'set' | 'writing', spoil: (db: DatabaseSync) => void): Disposable {
    const { exec } = DatabaseSync.prototype
    DatabaseSync.prototype.exec = function (sql) {
      const sets = sql.includes('journal_mode')
      if (when === 'new' && sets) spoil(this)
      if (when === 'writing' && sql.startsWith('BEGIN IMMEDIATE')) spoil(this)
      exec.call(this, sql)
      if (when === 'set' && sets) spoil(this)
    }
    return {
      [Symbol.dispose]() {
        DatabaseSync.prototype.exec = exec
      },
    }
  }

  test('is opened to keep what was committed, in a folder that need not exist', () => {
    using _ = engine('new', (db) => db.prepare('PRAGMA synchronous = NORMAL').get()) // a build of SQLite may begin with less
    using db = openSqlite(file(), SCHEMA)
    const pragma = (name: string) => Object.values(db.prepare(`PRAGMA ${name}`).get()!)[0]
    expect(pragma('journal_mode')).toBe('wal')
    expect(pragma('synchronous')).toBe(2) // FULL
    expect(pragma('busy_timeout')).toBeGreaterThan(0)
    expect(pragma('user_version')).toBe(1)
  })

  test.for([
    ['synchronous', 'NORMAL', 'synchronous is 1, not 2'],
    ['synchronous', 'OFF', 'synchronous is 0, not 2'],
    ['journal_mode', 'DELETE', 'journal_mode is delete, not wal'],
    ['busy_timeout', '0', 'busy_timeout is 0, not 250'],
  ])('is refused when %s is %s all the same', ([name, value, complaint]) => {
    using _ = engine('set', (db) => db.prepare(`PRAGMA ${name} = ${value}`).get())
    expect(opening()).toBe(`cannot open ${file()}: ${complaint}: is the file on a network drive?`)
  })

  test.for([
    ['3.51.2', 'cannot open'],
    ['3.50.12', 'cannot open'],
    ['3.51.3', 'opened'],
    ['3.60.0', 'opened'],
    ['4.0.0', 'opened'],
  ])('and SQLite %s: %s', ([version, outcome]) => {
    using _ = engine('set', (db) => db.function('sqlite_version', () => version!))
    expect(opening()).toContain(outcome)
    if (outcome !== 'opened')
      expect(opening()).toMatch(/SQLite 3\.5\S+ can corrupt a database; Node 24\.15 or newer brings/)
  })

  test('that a newer program has written is refused, and stays as it is', () => {
    openSqlite(file(), [...SCHEMA, 'CREATE TABLE u (a)']).close()
    expect(opening()).toBe(
      `cannot open ${file()}: it has schema version 2 and this program knows version 1: update the program, or move the file away`,
    )
    openSqlite(file(), [...SCHEMA, 'CREATE TABLE u (a)']).close()
  })

  test('gets its schema once', () => {
    openSqlite(file(), [`${SCHEMA}; INSERT INTO t VALUES (1)`]).close()
    openSqlite(file(), [`${SCHEMA}; INSERT INTO t VALUES (1)`]).close()
    expect(inside((db) => db.prepare('SELECT count(*) AS n FROM t').get(), file())).toEqual({ n: 1 })
  })

  test('gets its schema once when two processes create it at once', () => {
    mkdirSync(dirname(file()), { recursive: true })
    using _ = engine('writing', () =>
      inside((db) => db.exec(`${SCHEMA}; PRAGMA user_version = 1; INSERT INTO t VALUES (1)`), file()),
    )
    expect(opening()).toBe('opened')
    expect(inside((db) => db.prepare('SELECT count(*) AS n FROM t').get(), file())).toEqual({ n: 1 })
  })

  test('is not waited for when it only needs to be read', () => {
    openSqlite(file(), SCHEMA).close()
    using writer = new DatabaseSync(file())
    writer.exec('BEGIN IMMEDIATE')
    expect(opening()).toBe('opened')
  })

  test('gets its schema whole or not at all', () => {
    expect(() => openSqlite(file(), [...SCHEMA, 'CREATE nonsense'])).toThrow(`cannot open ${file()}`)
    expect(opening()).toBe('opened')
  })

  test('that is none, or cannot be opened, is named', () => {
    mkdirSync(file(), { recursive: true })
    expect(opening()).toBe(`cannot open ${file()}: unable to open database file`)
    rmdirSync(file())
    writeFileSync(file(), 'x'.repeat(5000))
    expect(opening()).toBe(`cannot open ${file()}: file is not a database`)
  })
})

describe('one worker at a time', () => {
  const inUse = () =>
    expect.stringContaining(`another worker is using ${path}: stop it first, or give this one a TOPICS_URL`)

  test('has the file; a second one in the same process is refused', async () => {
    {
      await using _ = await open()
      expect(await refusal(open())).toEqual(inUse())
      expect(await refusal(open())).toEqual(inUse())
    }
    expect(await refusal(open())).toBe('opened')
  })

  test('has the file; one in another process is refused until that is killed', async () => {
    await using worker = another('worker')
    await worker.said(1)
    expect(await refusal(open())).toEqual(inUse())
    await worker.kill()
    expect(await refusal(open())).toBe('opened')
  })

  test('does not hold the file when it could not open it', async () => {
    await (await open()).close()
    inside((db) => db.exec('PRAGMA user_version = 2'))
    expect(await refusal(open())).toContain('it has schema version 2 and this program knows version 1')
    inside((db) => db.exec('PRAGMA user_version = 1'))
    expect(await refusal(open())).toBe('opened')
  })

  test('says which file it cannot open', async () => {
    mkdirSync(path)
    for (const exclusive of [true, false])
      expect(await refusal(open({ exclusive }))).toBe(`cannot open ${path}: unable to open database file`)
    for (const exclusive of [true, false])
      expect(await refusal(sqliteTopics({ path: join(dir.file('no-folder'), 'x.db'), exclusive }))).toBe('opened')
    writeFileSync(dir.file('plain'), '')
    for (const exclusive of [true, false])
      expect(await refusal(sqliteTopics({ path: join(dir.file('plain'), 'x.db'), exclusive }))).toMatch(
        `cannot open ${join(dir.file('plain'), 'x.db')}`,
      )
    mkdirSync(dir.file('topics2.db.lock'))
    expect(await refusal(sqliteTopics({ path: dir.file('topics2.db'), exclusive: true }))).toBe(
      `cannot open ${dir.file('topics2.db')}.lock: unable to open database file`,
    )
  })

  test('is refused where nothing can be written, which SQLite would notice late and then keep to', async () => {
    using disk = process.getuid?.() === 0 ? smallDisk(dir.path) : undefined
    await (await open()).close()
    await sqliteStore(dir.file('fraud.db')).close()
    const { log } = listeningLog()
    const lock = () => (disk ? disk.lock() : [path, dir.file('fraud.db')].map((file) => chmodSync(file, 0o444)))
    lock()
    try {
      expect(await refusal(open())).toMatch(/^cannot open .*topics\.db: E(ROFS|ACCES|PERM): .*topics\.db/)
      expect(() => sqliteStore(dir.file('fraud.db'), { log })).toThrow(/E(ROFS|ACCES|PERM): .*fraud\.db/)
    } finally {
      disk?.unlock()
      if (!disk) for (const file of [path, dir.file('fraud.db')]) chmodSync(file, 0o600)
    }
    expect(await refusal(open())).toBe('opened')
  })

  test('lets commands work beside it, and sees what they append within a couple of seconds', async () => {
    await using worker = await open()
    const reading = worker.reader('transactions', 'score').read(10, soon())
    await using command = another('beside')
    await command.said(1)
    const appended = performance.now()
    expect(numbers((await reading).records)).toEqual([1])
    expect(performance.now() - appended).toBeLessThan(3000)
    await command.ended
    await using beside = await open({ exclusive: false })
    await worker.append({ transactions: [transaction(2)] })
    expect(await kept(beside, 'transactions')).toEqual([1, 2])
  })
})

describe('a worker that is killed', () => {
  test('has lost nothing that was acknowledged, and nothing is there by half', async () => {
    await using worker = another('append')
    await worker.said(60)
    await worker.kill()
    await using topics = await open()
    const found = await kept(topics, 'transactions')
    expect(found.length).toBeGreaterThanOrEqual(Number(worker.lines().at(-1)))
    expect(found.length % 2).toBe(0)
    expect(found).toEqual(found.map((_, n) => n))
  })

  test('has handed over records, position and note together', async () => {
    {
      await using topics = await open()
      await topics.append({ transactions: Array.from({ length: 3000 }, (_, n) => transaction(n)) })
    }
    for (let kill = 1; kill <= 2; kill++) {
      await using worker = another('handOver')
      await worker.said(40)
      await worker.kill()
      await using topics = await open()
      const predicted = await kept(topics, 'predictions')
      expect(predicted).toEqual(predicted.map((_, n) => n))
      expect(await topics.reader('transactions', 'score').lag()).toBe(3000 - predicted.length)
      expect(await topics.noted('last')).toBe(`trans-${predicted.length - 1}`)
      expect(predicted.length).toBeGreaterThan(Number(worker.lines().at(-1)?.slice('trans-'.length)))
    }
  })
})

test.skipIf(process.platform === 'win32')(
  'a full disk loses nothing: what fails says so and is not there',
  async () => {
    await using worker = another('fill', { blocks: 4096 })
    const found = JSON.parse(String(await worker.said(1)))
    expect(found.appending).toContain(
      `cannot write the topics in ${path}, whose disk is full or fails: make room there: `,
    )
    expect(found.committing).toContain(
      `cannot write the topics in ${path}, whose disk is full or fails: make room there: `,
    )
    expect(found.appended).toBeGreaterThan(100)
    expect([found.readable, found.lag]).toEqual([found.appended, found.appended])
    await worker.ended
    await using topics = await open()
    expect(await kept(topics, 'transactions')).toEqual(Array.from({ length: found.appended }, (_, n) => n))
    expect(await topics.reader('transactions', 'score').lag()).toBe(found.appended)
    expect(await kept(topics, 'predictions')).toEqual([])
    expect(await topics.noted('handedOver')).toBe(undefined)
    await topics.append({ transactions: [transaction(found.appended)] })
  },
)

test('a file of predictions is no topics, nor the other way round', async () => {
  await using dir = await tempDir()
  await sqliteStore(dir.file('fraud.db')).close()
  const mixed = 'it is a database of something else: are TOPICS_URL and DATABASE_URL swapped?'
  await expect(sqliteTopics({ path: dir.file('fraud.db') }).catch((error) => reason(error))).resolves.toContain(mixed)
  await (await sqliteTopics({ path: dir.file('topics.db') })).close()
  await expect(async () => sqliteStore(dir.file('topics.db'))).rejects.toThrow('cannot open')
})

test('trimming that fails, e.g. on a full disk, removes nothing', async () => {
  await using topics = await open()
  await topics.append({ transactions: [transaction(0)] })
  await (await topics.reader('transactions', 'score').read(9, soon())).commit(1)
  inside((db) =>
    db.exec(`CREATE TRIGGER full BEFORE DELETE ON transactions BEGIN SELECT RAISE(ABORT, 'disk is full'); END`),
  )
  await expect(topics.trim(Date.now() + DAY, ['shadow'])).rejects.toThrow('disk is full')
  expect(await kept(topics, 'transactions')).toEqual([0])
})

describe('in its SQLite file', () => {
  test('the log has no index beside its offset', async () => {
    await (await open()).close()
    for (const topic of ['transactions', 'predictions', 'dead-letters']) {
      expect(inside((db) => db.prepare(`PRAGMA index_list("${topic}")`).all())).toEqual([])
      expect(inside((db) => db.prepare(`SELECT rowid FROM "${topic}"`).all())).toEqual([])
    }
  })

  test('a failed write says where, and why', async () => {
    await using topics = await open()
    inside((db) =>
      db.exec(`CREATE TRIGGER full BEFORE INSERT ON transactions BEGIN SELECT RAISE(ABORT, 'disk is full'); END`),
    )
    await expect(topics.append({ transactions: [transaction(1)] }).catch(reason)).resolves.toBe(
      `cannot write the topics in ${path}: disk is full`,
    )
  })

  test('a commit of more records than are left is a bug, and moves nothing', async () => {
    await using topics = await open()
    await topics.append({ transactions: [0, 1, 2].map((n) => transaction(n)) })
    const reader = topics.reader('transactions', 'score')
    const batch = await reader.read(2, soon())
    await batch.commit(1)
    for (const count of [2, -1, 0.5]) await expect(batch.commit(count, {}, { a: 1 })).rejects.toThrow(RangeError)
    expect([await reader.lag(), await topics.noted('a')]).toEqual([2, undefined])
  })

  test.skipIf(!existsSync('/proc/self/fd'))(
    'no file stays open after the end, nor after an opening that failed',
    async () => {
      const files = () =>
        readdirSync('/proc/self/fd').flatMap((fd) => {
          try {
            return readlinkSync(`/proc/self/fd/${fd}`)
          } catch {
            return [] // closed meanwhile, as the one that read the folder
          }
        })
      const ours = () => files().filter((file) => file.startsWith(dir.path))
      const topics = await open()
      expect(ours()).not.toEqual([])
      expect(await refusal(open())).toContain('another worker')
      await topics.close()
      expect(ours()).toEqual([])
      inside((db) => db.exec('PRAGMA user_version = 2'))
      expect(await refusal(open())).toContain('schema version')
      expect(ours()).toEqual([])
    },
  )

  test('a hand-over that fails at its last step, the position, leaves no record and no note', async () => {
    await using topics = await open()
    await topics.append({ transactions: [transaction(1)] })
    inside((db) =>
      db.exec(`CREATE TRIGGER full BEFORE UPDATE ON position BEGIN SELECT RAISE(ABORT, 'disk is full'); END`),
    )
    const batch = await topics.reader('transactions', 'score').read(1, soon())
    await expect(batch.commit(1, { predictions: [prediction(1)] }, { a: 1 })).rejects.toThrow('cannot write the topics')
    expect(await kept(topics, 'predictions')).toEqual([])
    expect(await topics.noted('a')).toBe(undefined)
  })

  test('a read leaves nothing behind: no listener on the signal, no timer', async () => {
    await using topics = await open()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const { signal } = new AbortController()
      const reading = topics.reader('transactions', 'score').read(1, signal)
      expect([getEventListeners(signal, 'abort').length, vi.getTimerCount()]).toEqual([1, 1])
      await topics.append({ predictions: [prediction(1)] })
      await topics.append({ transactions: [transaction(1)] })
      await reading
      expect([getEventListeners(signal, 'abort').length, vi.getTimerCount()]).toEqual([0, 0])
      const touched = vi.spyOn(signal, 'removeEventListener')
      await topics.append({ transactions: [transaction(2)] })
      expect(touched).not.toHaveBeenCalled()
    } finally {
      vi.useRealTimers()
    }
  })
})

test('a record that is damaged is named, and is no bug that would end the worker', async () => {
  {
    await using topics = await open()
    await topics.append({ transactions: [transaction(1), transaction(2)] })
  }
  inside((db) =>
    db.exec(`UPDATE transactions SET record = replace(record, '"amt":', '"amt"') WHERE record LIKE '%trans-2%'`),
  )
  await using topics = await open()
  for (const fields of [undefined, ['trans_num'] as const]) {
    const error = await Array.fromAsync(topics.scan('transactions', fields)).catch((cause: unknown) => cause)
    expect(isBug(error)).toBe(false)
    expect(reason(error)).toMatch(/^the stored record of transaction trans-2 is damaged .*: restore a backup/)
  }
})

test('a note that is damaged is named, and is no bug that would end the worker', async () => {
  {
    await using topics = await open()
    await topics.append({}, { 'alert/pace': { mails: [1, 2] } })
  }
  inside((db) => db.exec(`UPDATE note SET value = replace(value, '[', '') WHERE key = 'alert/pace'`))
  await using topics = await open()
  for (const asked of [topics.state('alert/'), topics.state('alert/pace', { exact: true })]) {
    const error = await asked.catch((cause: unknown) => cause)
    expect(isBug(error)).toBe(false)
    expect(reason(error)).toMatch(/^what was noted as alert\/pace is damaged .*: restore a backup/)
  }
})

test('a record that is damaged is not passed over, however often it is read', async () => {
  {
    await using topics = await open()
    await topics.append({ transactions: [transaction(1), transaction(2)] })
  }
  inside((db) => db.exec(`UPDATE transactions SET record = '{' WHERE offset = 1`))
  await using topics = await open()
  const reader = topics.reader('transactions', 'score')
  for (let i = 0; i < 3; i++) await expect(reader.read(1, soon())).rejects.toThrow('cannot read the topics')
})

test('what another process appends is handed out in its place among what this one keeps at hand', async () => {
  await using worker = await open()
  await using command = await open({ exclusive: false })
  const [score, late] = [worker.reader('transactions', 'score'), worker.reader('predictions', 'alert')]
  const read: number[] = []
  const next = async (limit: number) => read.push(...numbers((await score.read(limit, soon())).records))
  for (const [topics, n] of [worker, worker, command, worker, command, command, worker].map(
    (t, n) => [t, n] as const,
  )) {
    await topics.append({ transactions: [transaction(n)] })
    if (n === 1 || n === 4) await next(n)
  }
  while (read.length < 7) await next(100)
  await expect(kept(worker, 'transactions')).resolves.toEqual([0, 1, 2, 3, 4, 5, 6])
  expect(read).toEqual([0, 1, 2, 3, 4, 5, 6])
  score.rewind()
  expect(numbers((await score.read(3, soon())).records)).toEqual([0, 1, 2])
  await expect(late.lag()).resolves.toBe(0)
})

test('what another process appends behind all that is kept at hand is found while nothing else is appended', async () => {
  await using worker = await open()
  await using command = await open({ exclusive: false })
  const reader = worker.reader('transactions', 'score')
  await worker.append({ transactions: [transaction(1)] })
  expect(numbers((await reader.read(10, soon())).records)).toEqual([1])
  const reading = reader.read(10, soon())
  await command.append({ transactions: [transaction(2)] })
  expect(numbers((await reading).records)).toEqual([2])
  await worker.append({ transactions: [transaction(3)] })
  expect(numbers((await reader.read(10, soon())).records)).toEqual([3])
})

test('a reader that has all there is does not ask the file again for each position that moves', async () => {
  await using topics = await open()
  const [score, alert] = [topics.reader('transactions', 'score'), topics.reader('predictions', 'alert')]
  await topics.append({ transactions: [transaction(1)], predictions: [prediction(1)] })
  const told = await alert.read(1, soon())
  const asked = vi.spyOn(StatementSync.prototype, 'iterate')
  try {
    const judged = await score.read(1, soon())
    const reading = Promise.all([score.read(1, soon()), alert.read(1, soon())])
    await Promise.all([judged.commit(1), told.commit(1, {}, { it: 1 })])
    await topics.append({ transactions: [transaction(2)], predictions: [prediction(2)] })
    expect((await reading).map(({ records }) => numbers(records))).toEqual([[2], [2]])
    expect(asked).not.toHaveBeenCalled()
  } finally {
    asked.mockRestore()
  }
})

test('a position alone waits for no other commit where more waits to be read behind it', async () => {
  await using topics = await open()
  await topics.append({ predictions: [prediction(1), prediction(2)] })
  const reader = topics.reader('predictions', 'record')
  vi.useFakeTimers({ toFake: ['setTimeout'] }) // the wait has no end
  try {
    await (await reader.read(1, soon())).commit(1)
    const last = (await reader.read(1, soon())).commit(1)
    await topics.append({ predictions: [prediction(3)] }) // takes it along
    await last
  } finally {
    vi.useRealTimers()
  }
  expect(await reader.lag()).toBe(1)
})

test('a reader that is far behind what is kept at hand is handed all of it', async () => {
  await using topics = await open()
  const reader = topics.reader('transactions', 'score')
  const large = 'x'.repeat(1000)
  for (let n = 0; n < 9000; n += 500)
    await topics.append({ transactions: Array.from({ length: 500 }, (_, i) => transaction(n + i, { job: large })) })
  const read: number[] = []
  while (read.length < 9000) read.push(...numbers((await reader.read(700, soon())).records))
  expect(read).toEqual(Array.from({ length: 9000 }, (_, n) => n))
})
