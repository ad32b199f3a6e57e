import { existsSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { backup } from '../../src/commands/backup.ts'
import { restore } from '../../src/commands/restore.ts'
import { rotate } from '../../src/commands/rotate.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { disposable, outside, recorded, someRows } from '../outside.ts'
import { LONG_CARD, prediction, tempDir, transaction, waitFor } from '../rows.ts'
import { sqliteTopics } from '../topic/asked.ts'
import { startWorker } from '../worker.ts'

const NIGHT = Date.UTC(2026, 10, 20, 3, 15)
const DAY = 86_400_000
const sqlite = (path: string) => ({ engine: 'sqlite' as const, path })

/** A place with two transactions, of which one is predicted and recorded; nothing has it open. */
async function place() {
  const dir = await tempDir()
  const places = { topics: sqlite(dir.file('data/topics.db')), database: sqlite(dir.file('data/fraud.db')) }
  mkdirSync(dir.file('data'))
  async function add(n: number) {
    const topics = await sqliteTopics({ path: places.topics.path, exclusive: true })
    const store = sqliteStore(places.database.path)
    await topics.append({ transactions: [transaction(n, { cc_num: LONG_CARD })], predictions: [prediction(n)] })
    await store.insert([prediction(n)])
    await topics.close()
    await store.close()
  }
  await add(1)
  const rows = () => recorded(places.database.path).map(({ trans_num }) => trans_num)
  return { ...dir, dir, places, add, rows }
}

test('with --keep each copy has a folder of its own, and the oldest go when the new one is whole', async () => {
  await using p = await place()
  const [folder, names] = [p.file('backups'), () => readdirSync(p.file('backups')).toSorted()]
  for (const day of [0, 1, 2]) await rotate(folder, p.places, 2, NIGHT + day * DAY)
  expect(names()).toEqual(['2026-11-21T031500Z', '2026-11-22T031500Z'])
  const lines = await rotate(folder, p.places, 2, NIGHT + 3 * DAY)
  expect(lines.slice(-2)).toEqual([
    `to put it back: stop the worker, npm run restore -- ${folder}/2026-11-23T031500Z, start`,
    `${folder}/2026-11-21T031500Z is removed`,
  ])
  expect(readdirSync(`${folder}/2026-11-23T031500Z`).toSorted()).toEqual(['fraud.db', 'topics.db'])
  truncateSync(p.places.database.path, 5000) // no copy can be made of it
  await expect(rotate(folder, p.places, 1, NIGHT + 4 * DAY)).rejects.toThrow('cannot copy')
  expect(names().slice(0, 2)).toEqual(['2026-11-22T031500Z', '2026-11-23T031500Z'])
})

test('what is no copy is never removed, and half a copy does not count', async () => {
  await using p = await place()
  const folder = p.file('backups')
  await rotate(folder, p.places, 9, NIGHT)
  for (const name of ['2026-11-18T031500Z', '2026-11-19T031500Z', 'of-last-year', '2026-11-17'])
    mkdirSync(`${folder}/${name}`)
  writeFileSync(`${folder}/2026-11-19T031500Z/topics.db.part`, 'cut off')
  writeFileSync(`${folder}/2026-11-18T031500Z/notes.txt`, 'mine')
  writeFileSync(`${folder}/readme`, 'mine')
  const lines = await rotate(folder, p.places, 2, NIGHT + DAY)
  expect(lines.slice(-2)).toEqual([
    `${folder}/2026-11-19T031500Z is removed`,
    `${folder}/2026-11-18T031500Z: the copy is removed, what else is in it is left`,
  ])
  expect(readdirSync(folder).toSorted()).toEqual([
    ...['2026-11-17', '2026-11-18T031500Z', '2026-11-20T031500Z', '2026-11-21T031500Z', 'of-last-year', 'readme'],
  ])
})

test('a clock that was set back removes not the copy that was just made', async () => {
  await using p = await place()
  await rotate(p.file('b'), p.places, 1, NIGHT)
  await rotate(p.file('b'), p.places, 1, NIGHT - DAY)
  expect(readdirSync(p.file('b'))).toEqual(['2026-11-19T031500Z'])
})

test('a backup is put back to the byte, where nothing is, and where something is only when asked', async () => {
  await using p = await place()
  await backup(p.file('b'), p.places)
  await p.add(2)
  expect(p.rows()).toEqual(['trans-1', 'trans-2'])
  await expect(restore(p.file('b'), p.places)).rejects.toThrow(
    `${p.places.topics.path} and ${p.places.database.path}: is there already; with --replace it is moved away`,
  )
  expect(p.rows()).toEqual(['trans-1', 'trans-2'])
  const lines = await restore(p.file('b'), p.places, { replace: true, at: NIGHT })
  expect(lines).toEqual([
    `${p.places.topics.path}: transactions up to 1, predictions up to 1`,
    expect.stringContaining(`${p.places.database.path}: 1 predictions`),
    `${p.places.topics.path} as it was is in ${p.file('data/replaced-2026-11-20T031500Z')} now`,
    `${p.places.database.path} as it was is in ${p.file('data/replaced-2026-11-20T031500Z')} now`,
  ])
  expect(p.rows()).toEqual(['trans-1'])
  expect(recorded(p.places.database.path)[0]!.cc_num).toBe(prediction(1).cc_num)
  expect(recorded(p.file('data/replaced-2026-11-20T031500Z/fraud.db'))).toHaveLength(2)
  await p.add(3) // the mark of what was replaced is gone too
  rmSync(p.file('data'), { recursive: true })
  await restore(p.file('b'), p.places)
  expect(p.rows()).toEqual(['trans-1'])
})

test('nothing is touched while anything has a file open', async () => {
  await using p = await place()
  await backup(p.file('b'), p.places)
  const topics = await sqliteTopics({ path: p.places.topics.path, exclusive: true })
  await expect(restore(p.file('b'), p.places, { replace: true })).rejects.toThrow('another worker is using')
  await topics.close()
  using reading = disposable(new DatabaseSync(p.places.database.path))
  reading.prepare('SELECT count(*) FROM predictions').get()
  await expect(restore(p.file('b'), p.places, { replace: true })).rejects.toThrow(
    `something has ${p.places.database.path} open: stop the worker`,
  )
  expect(readdirSync(p.file('data')).filter((name) => /part|saved|replaced/.test(name))).toEqual([])
})

test.for<[string, (folder: string) => unknown, string]>([
  ['is cut', (b) => truncateSync(`${b}/fraud.db`, statSync(`${b}/fraud.db`).size - 4096), 'malformed'],
  ['is half of one', (b) => rmSync(`${b}/topics.db`), 'there is no topics.db in '],
  ['is not there', (b) => rmSync(b, { recursive: true }), 'there is no folder '],
  [
    'are several',
    (b) => {
      for (const file of ['topics.db', 'fraud.db']) rmSync(`${b}/${file}`)
      for (const name of ['2026-11-19T031500Z', '2026-11-20T031500Z']) mkdirSync(`${b}/${name}`)
    },
    'it holds several backups, name one, the newest is ',
  ],
])('a backup that %s changes nothing', async ([, harm, said]) => {
  await using p = await place()
  await backup(p.file('b'), p.places)
  harm(p.file('b'))
  await p.add(2)
  await expect(restore(p.file('b'), p.places, { replace: true })).rejects.toThrow(said)
  expect(p.rows()).toEqual(['trans-1', 'trans-2'])
  expect(readdirSync(p.file('data')).filter((name) => /part|saved|replaced/.test(name))).toEqual([])
})

test('what is on a server is left to its own tools', async () => {
  await using p = await place()
  await backup(p.file('b'), p.places)
  const database = { engine: 'postgres' as const, url: new URL('postgres://u:secret@db.example/fraud') }
  rmSync(p.file('data'), { recursive: true })
  expect((await restore(p.file('b'), { ...p.places, database })).at(-1)).toBe(
    'the database in PostgreSQL at db.example/fraud stay as they are: pg_restore puts them back',
  )
  expect(existsSync(p.places.database.path)).toBe(false)
})

test('by the commands: back to a night, with an audit, and the worker goes on from there', async () => {
  const rows = someRows(40)
  await using dir = await tempDir()
  await using world = await outside(rows, dir.path)
  const command = async (...args: string[]) => {
    await using run = startWorker(dir.path, world.env, ...args)
    return { code: (await run.end).code, text: run.text() }
  }
  {
    await using worker = startWorker(dir.path, world.env)
    await waitFor('all rows', () => world.recorded().length === rows.length)
    expect((await command('backup', 'b', '--keep', '2')).code).toBe(0)
    const refused = await command('restore', `b/${readdirSync(dir.file('b'))[0]}`, '--replace')
    expect(refused).toMatchObject({ code: 1, text: expect.stringContaining('another worker is using') })
    worker.kill('SIGTERM')
    await worker.end
  }
  for (const file of ['topics.db', 'fraud.db']) for (const end of ['', '.mark']) rmSync(dir.file(file + end))
  const { code, text } = await command('restore', `b/${readdirSync(dir.file('b'))[0]}`)
  expect({ code, text }).toMatchObject({ code: 0, text: expect.stringContaining('the account holds') })
  expect(world.recorded()).toHaveLength(rows.length)
  const [before] = [world.smtp.mails.length]
  await using again = startWorker(dir.path, world.env)
  await waitFor('its start', () => again.text().includes('status page'))
  again.kill('SIGTERM')
  expect((await again.end).code).toBe(0)
  expect(world.smtp.mails.length).toBe(before)
  expect((await command('backup', 'b', '--keep', 'all')).code).toBe(2)
})
