import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { chmod, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { recorded } from '../outside.ts'
import { look, type Server, startPostgres } from '../postgres.ts'
import { freePort, prediction, tempDir, transaction } from '../rows.ts'
import { sqliteTopics, type AskedTopics as Topics } from '../topic/asked.ts'
import { consult } from './consult.ts'

const TOPICS = { STAGES: 'fetch' }
const DATABASE = { STAGES: 'record' }
const WELL = 'written, read back with 19 digits, removed'

describe('SQLite', () => {
  test('topics and database are written, read back, and left as they were', async () => {
    await using dir = await tempDir()
    const [TOPICS_URL, DATABASE_URL] = [`sqlite:${dir.file('t.db')}`, `sqlite:${dir.file('d.db')}`]
    const { of } = await consult({ ...DATABASE, TOPICS_URL, DATABASE_URL })
    expect(of('topics')).toEqual([{ name: 'topics', state: 'ok', text: `${dir.file('t.db')}: ${WELL}; nothing waits` }])
    expect(of('database')).toEqual([{ name: 'database', state: 'ok', text: `${dir.file('d.db')}: ${WELL}` }])
    const left = (await readdir(dir.path)).filter((name) => /-wal|doctor/.test(name))
    expect(left.filter((name) => statSync(dir.file(name)).size > 0)).toEqual([]) // who only reads leaves an empty -wal
    expect(recorded(dir.file('d.db'))).toEqual([])
    const topics = await sqliteTopics({ path: dir.file('t.db') })
    expect(await topics.noted('doctor')).toBeUndefined()
    await topics.close()
  })

  test('beside a running worker too, and says what waits for whom', async () => {
    await using dir = await tempDir()
    const [TOPICS_URL, DATABASE_URL] = [`sqlite:${dir.file('t.db')}`, `sqlite:${dir.file('d.db')}`]
    const topics = await sqliteTopics({ path: dir.file('t.db'), exclusive: true })
    const store = sqliteStore(dir.file('d.db'))
    await topics.append({ transactions: [transaction(1), transaction(2)], predictions: [prediction(1)] })
    await store.insert([prediction(1)])
    const { of } = await consult({ ...DATABASE, TOPICS_URL, DATABASE_URL })
    expect(of('topics')[0]).toMatchObject({
      state: 'ok',
      text: expect.stringMatching(/; waiting: 2 records for score, 1 record for alert, 1 record for record$/),
    })
    expect(of('database')[0]!.state).toBe('ok')
    const again = await consult({ ...TOPICS, TOPICS_URL, ALERT_WEBHOOK_URL: 'http://127.0.0.1:1/x' })
    expect(again.of('topics')[0]!.text).toMatch(/1 record for alert, 1 record for webhook, 1 record for record$/)
    expect(await topics.reader('transactions', 'score').lag()).toBe(2)
    await topics.close()
    await store.close()
  })

  test('beside a worker that is writing just now', async () => {
    await using dir = await tempDir()
    const [TOPICS_URL, DATABASE_URL] = [`sqlite:${dir.file('t.db')}`, `sqlite:${dir.file('d.db')}`]
    await consult({ ...DATABASE, TOPICS_URL, DATABASE_URL })
    const script = `for (const path of process.argv.slice(1)) {
      const db = new (require('node:sqlite').DatabaseSync)(path)
      db.exec('BEGIN IMMEDIATE')
      setTimeout(() => db.exec('COMMIT'), 1000)
    }
    console.log('held')`
    const writer = spawn(process.execPath, ['-e', script, dir.file('t.db'), dir.file('d.db')])
    const ended = once(writer, 'close')
    await once(writer.stdout, 'data')
    const { failed, text } = await consult({ ...DATABASE, TOPICS_URL, DATABASE_URL })
    expect(failed, text).toBe(false)
    await ended
  })

  test('a file whose pages make no sense', async () => {
    await using dir = await tempDir()
    const [TOPICS_URL, DATABASE_URL] = [`sqlite:${dir.file('t.db')}`, `sqlite:${dir.file('d.db')}`]
    const topics = await sqliteTopics({ path: dir.file('t.db') })
    await topics.append({ transactions: Array.from({ length: 1000 }, (_, n) => transaction(n)) })
    await topics.close()
    const store = sqliteStore(dir.file('d.db'))
    await store.insert(Array.from({ length: 1000 }, (_, n) => prediction(n)))
    await store.close()
    for (const name of ['t.db', 'd.db']) {
      const bytes = await readFile(dir.file(name))
      for (let page = 12; page < 60; page++) bytes[page * 4096] = 0xff
      await writeFile(dir.file(name), bytes)
    }
    const { of } = await consult({ ...DATABASE, TOPICS_URL, DATABASE_URL })
    for (const [subject, name] of [
      ['topics', 't.db'],
      ['database', 'd.db'],
    ])
      expect(of(subject!).find(({ state }) => state === 'wrong')).toMatchObject({
        text: expect.stringMatching(new RegExp(`${name}.*(damaged|malformed)`)),
        cure: expect.stringMatching(/^stop the worker, move the files of .*_URL away, and restore a backup/),
      })
  })

  test('a worker whose file is gone: says so, and makes no other', async () => {
    await using dir = await tempDir()
    const topics = await sqliteTopics({ path: dir.file('t.db'), exclusive: true })
    for (const part of ['', '-wal', '-shm']) await rm(dir.file(`t.db${part}`))
    const { of } = await consult({ ...TOPICS, TOPICS_URL: `sqlite:${dir.file('t.db')}` })
    expect(of('topics')).toMatchObject([
      {
        state: 'wrong',
        text: expect.stringMatching(/^a worker has .*t\.db open, and it is gone: the log of the worker/),
      },
    ])
    expect(await readdir(dir.path)).not.toContain('t.db')
    await topics.close()
  })

  test('a lost -wal', async () => {
    await using dir = await tempDir()
    await (await sqliteTopics({ path: dir.file('t.db') })).close()
    await writeFile(dir.file('t.db.mark'), '{"transactions":7}')
    const { of } = await consult({ ...TOPICS, TOPICS_URL: `sqlite:${dir.file('t.db')}` })
    expect(of('topics')).toMatchObject([{ state: 'wrong', text: expect.stringMatching(/holds less than it did/) }])
  })

  test.skipIf(process.platform === 'win32')('a file that others can read', async () => {
    await using dir = await tempDir()
    await (await sqliteTopics({ path: dir.file('t.db') })).close()
    const look = async () => (await consult({ ...TOPICS, TOPICS_URL: `sqlite:${dir.file('t.db')}` })).of('topics')[1]
    await chmod(dir.file('t.db'), 0o644)
    expect(await look()).toBeUndefined() // its folder is closed to them
    await chmod(dir.path, 0o755)
    expect(await look()).toMatchObject({ state: 'note', cure: `chmod 600 ${dir.file('t.db')}*` })
    await chmod(dir.file('t.db'), 0o600)
    expect(await look()).toBeUndefined()
  })

  test.skipIf(process.platform !== 'linux')('a folder where nothing can be made is no endless wait', async () => {
    const place = 'sqlite:/proc/nothing/here/x.db'
    const { of } = await consult({ ...DATABASE, TOPICS_URL: place, DATABASE_URL: place.replace('x', 'y') })
    for (const name of ['topics', 'database', 'disk']) expect(of(name)[0]!.state).toBe('wrong')
    expect(of('topics')[0]!.text).toMatch(/^cannot open \/proc\/nothing\/here\/x\.db: ENOENT/)
  })

  test('a file that is none', async () => {
    await using dir = await tempDir()
    await writeFile(dir.file('no.db'), 'this is certainly not a database, however long one looks at it'.repeat(20))
    const { of } = await consult({
      ...DATABASE,
      TOPICS_URL: `sqlite:${dir.file('no.db')}`,
      DATABASE_URL: `sqlite:${dir.file('no.db')}/in.db`,
    })
    expect(of('topics')[0]).toMatchObject({
      state: 'wrong',
      text: `cannot open ${dir.file('no.db')}: file is not a database`,
      cure: 'let TOPICS_URL name another file, or move this one away',
    })
    expect(of('database')[0]).toMatchObject({
      state: 'wrong',
      text: expect.stringMatching(/^cannot open .*no\.db\/in\.db: E(NOTDIR|EXIST)/),
      cure: 'the folder in DATABASE_URL must be there and this user may write in it',
    })
  })
})

describe('PostgreSQL', () => {
  let server: Server
  beforeAll(async () => {
    server = await startPostgres()
  }, 60_000)
  afterAll(() => server[Symbol.asyncDispose]())

  test('topics and database are written, read back, and left as they were', async () => {
    const url = (await server.database()).href
    const { of, failed } = await consult({ ...DATABASE, TOPICS_URL: url, DATABASE_URL: url })
    expect(of('topics')[0]!.text).toMatch(
      new RegExp(`^PostgreSQL at 127\\.0\\.0\\.1:\\d+/\\w+: ${WELL}; nothing waits$`),
    )
    expect(of('database')[0]!.text).toMatch(new RegExp(`^PostgreSQL at .*: ${WELL}$`))
    expect(failed).toBe(false)
    expect(of('disk')).toEqual([])
    expect(
      await look(
        new URL(url),
        'SELECT (SELECT count(*) FROM predictions) AS rows, (SELECT count(*) FROM topics.note) AS notes',
      ),
    ).toEqual([{ rows: 0n, notes: 0n }])
  })

  test('a wrong password, a database that is not there, and no password in what is said', async () => {
    const url = await server.database()
    const wrong = new URL(url)
    wrong.password = 'sesame'
    const elsewhere = new URL(url)
    elsewhere.pathname = '/elsewhere'
    const { of, text } = await consult({ ...DATABASE, TOPICS_URL: wrong.href, DATABASE_URL: elsewhere.href })
    expect(of('topics')[0]).toMatchObject({ state: 'wrong', cure: 'check user and password in TOPICS_URL' })
    expect(of('database')[0]).toMatchObject({
      state: 'wrong',
      cure: 'create that database, or check its name in DATABASE_URL',
    })
    expect(text).not.toMatch(/sesame|p@ss|p%40ss/)
  })

  test('a column that does not keep the digits', async () => {
    const url = await server.database()
    await consult({ ...DATABASE, DATABASE_URL: url.href })
    await look(
      url,
      `CREATE FUNCTION round_it() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN NEW.cc_num := NEW.cc_num::double precision::bigint; RETURN NEW; END $$;
      CREATE TRIGGER round_it BEFORE INSERT ON predictions FOR EACH ROW EXECUTE FUNCTION round_it()`,
    )
    const { of } = await consult({ ...DATABASE, DATABASE_URL: url.href })
    expect(of('database')[0]).toMatchObject({
      state: 'wrong',
      text: expect.stringMatching(/: of 19 digits only 16 came back$/),
    })
    expect(of('database')[0]!.cure).toMatch(/^a trigger, or something between/)
  })

  test('nobody there', async () => {
    const nobody = `postgres://u:sesame@127.0.0.1:${await freePort()}/db`
    const { of, text } = await consult({ ...DATABASE, TOPICS_URL: nobody, DATABASE_URL: nobody })
    for (const [name, setting] of [
      ['topics', 'TOPICS_URL'],
      ['database', 'DATABASE_URL'],
    ] as const) {
      expect(of(name)).toHaveLength(1)
      expect(of(name)[0]).toMatchObject({
        state: 'wrong',
        cure: `nothing listens there: is it up? Check host and port in ${setting}`,
      })
      expect(of(name)[0]!.text).toMatch(/ECONNREFUSED/)
    }
    expect(text).not.toMatch(/sesame/)
  })
})

test('topics that lose digits', async () => {
  const lossy = async () => {
    const notes = new Map<string, unknown>()
    const topics: Partial<Topics> = {
      async append(_, all = {}) {
        for (const [key, { digits }] of Object.entries(all as Record<string, { digits: bigint }>).filter(
          ([, value]) => value,
        ))
          notes.set(key, { digits: BigInt(Number(digits)) })
      },
      state: async () => notes,
      close: async () => {},
    }
    return topics as Topics
  }
  const { of } = await consult(TOPICS, { openTopics: lossy })
  expect(of('topics')[0]).toMatchObject({
    state: 'wrong',
    text: expect.stringMatching(/: of 19 digits only 1[56] came back$/),
  })
})
