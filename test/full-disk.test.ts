import { cpSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { reason } from '../src/io/errors.ts'
import { sqliteStore } from '../src/record/sqlite.ts'
import { sqliteTopics } from '../src/topic/sqlite.ts'
import { smallDisk } from './campaign/disk.ts'
import { disposable, outside, recorded, someRows } from './outside.ts'
import { listeningLog, prediction, tempDir, transaction, waitFor } from './rows.ts'
import { startWorker } from './worker.ts'

const NAMED =
  /cannot (open|read|write|record)[^"]*(topics|fraud)\.db[^"]*, whose disk is full or fails: make room there: /
const FOLDERS = ['that nobody has made yet', 'that was closed', 'of a worker that was killed'] as const

describe.skipIf(process.platform !== 'linux' || process.getuid?.() !== 0)('on a disk without a byte', () => {
  let dir: Awaited<ReturnType<typeof tempDir>>
  let disk: ReturnType<typeof smallDisk>
  let folder: string
  beforeEach(async () => {
    dir = await tempDir()
    disk = smallDisk(dir.path)
    folder = dir.file('data')
    writeFileSync(dir.file('other'), 'of somebody else')
  })
  afterEach(async () => {
    disk[Symbol.dispose]()
    await dir[Symbol.asyncDispose]()
  })
  const fill = (spare?: number) => waitFor('the disk to be full', () => disk.fill(spare))
  const open = async () => {
    const topics = await sqliteTopics({ path: `${folder}/topics.db`, exclusive: true })
    return { ...topics, [Symbol.asyncDispose]: topics.close }
  }
  const openStore = () => {
    const store = sqliteStore(`${folder}/fraud.db`, { log: listeningLog().log })
    return { ...store, [Symbol.asyncDispose]: store.close }
  }
  function sql(text: string) {
    using db = disposable(new DatabaseSync(`${folder}/topics.db`))
    db.exec(text)
  }
  /** What was there before, as its worker left it: each file with a -wal if that was killed. */
  async function leave(which: (typeof FOLDERS)[number]) {
    if (which === 'that nobody has made yet') return
    const living = dir.file('living')
    {
      await using topics = await open()
      await using store = openStore()
      await topics.append({ transactions: [transaction(1000)], predictions: [prediction(1000)] })
      await store.insert([prediction(1000)])
      sql("DELETE FROM position WHERE reader = 'shadow'") // the file is older than this reader
      cpSync(folder, living, { recursive: true, filter: (name) => !name.endsWith('-shm') })
    }
    if (which === 'of a worker that was killed') cpSync(living, folder, { recursive: true })
    rmSync(living, { recursive: true })
  }

  test.for(FOLDERS)(
    'a worker waits, says so, and begins by itself when there is room: a folder %s',
    { timeout: 200_000 },
    async (which) => {
      await leave(which)
      const before = recorded(`${folder}/fraud.db`).length
      await fill()
      await using world = await outside(someRows(20), folder)
      await using worker = startWorker(dir.path, { ...world.env, DISK_RESERVE_MB: '0' })
      await waitFor('a word about it', () => !worker.running() || NAMED.test(worker.text()), 60_000)
      await waitFor('the status page', () => !worker.running() || worker.text().includes('status page: '), 60_000)
      expect(worker.text()).toMatch(NAMED)
      expect(worker.running()).toBe(true)
      disk.empty()
      await waitFor('all rows', () => world.recorded().length === before + 20, 90_000)
      worker.kill('SIGTERM')
      expect((await worker.end).code).toBe(0)
    },
  )

  test('a worker that waits for room ends when it is asked to', { timeout: 60_000 }, async () => {
    await fill()
    await using world = await outside([], folder)
    await using worker = startWorker(dir.path, world.env)
    await waitFor('a word about it', () => NAMED.test(worker.text()), 60_000)
    worker.kill('SIGTERM')
    expect((await worker.end).code).toBe(0)
    expect(world.producer.calls).toBe(0)
  })

  test('commands end at once, and say the same', { timeout: 60_000 }, async () => {
    await leave('of a worker that was killed')
    await fill()
    await using world = await outside([], folder)
    for (const args of [['audit'], ['export', '--validated', '--into', '-']]) {
      await using command = startWorker(dir.path, world.env, ...args)
      expect((await command.end).code).toBe(1)
      expect(command.text()).toMatch(NAMED)
    }
  })

  // With each page more the start gets further: folder, lock, settings, schema, positions, mark.
  test.for(FOLDERS)('whichever page is the last: a folder %s', { timeout: 300_000 }, async (which) => {
    let [refused, whole] = [0, 0]
    for (let spare = 0; whole < 2; spare += 1 + Math.floor(spare / 4)) {
      rmSync(folder, { recursive: true, force: true })
      await leave(which)
      await fill(spare)
      const complaints: string[] = []
      const complain = (error: unknown) => void complaints.push(reason(error))
      {
        await using topics = await open().catch(complain)
        topics?.reader('transactions', 'shadow')
        await using store = openStore()
        await store.insert([prediction(1)]).catch(complain)
        await topics?.append({ transactions: [transaction(1)] }).catch(complain)
      }
      for (const complaint of complaints) expect(complaint).toMatch(NAMED)
      complaints.length > 0 ? refused++ : whole++
      disk.empty()
      await using topics = await open()
      await using store = openStore()
      await topics.append({ transactions: [transaction(2)] })
      await store.insert([prediction(2)])
      const there = which === 'that nobody has made yet' ? [] : [1000]
      expect(await store.missing([...there, 2].map((n) => prediction(n)))).toEqual([])
      const kept = (await Array.fromAsync(topics.scan('transactions'))).map(({ record }) => record)
      expect(kept).toEqual(expect.arrayContaining([...there, 2].map((n) => expect.objectContaining(transaction(n)))))
    }
    expect(refused).toBeGreaterThan(2)
  })

  test('nor a place for another file', async () => {
    await leave('that was closed')
    for (const name of readdirSync(folder)) if (!/\.db$/.test(name)) rmSync(`${folder}/${name}`)
    disk.crowd()
    await expect(open().catch(reason)).resolves.toMatch(NAMED)
    await using store = openStore()
    await expect(store.insert([prediction(1)]).catch(reason)).resolves.toMatch(NAMED)
    rmSync(folder, { recursive: true })
    disk.crowd()
    await expect(open().catch(reason)).resolves.toMatch(NAMED)
    disk.empty()
    await (await open()).close()
    await store.insert([prediction(1)])
  })
})
