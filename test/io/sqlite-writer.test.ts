import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { threadWriter } from '../../src/io/sqlite-writer.ts'
import { tempDir } from '../rows.ts'

async function world() {
  const dir = await tempDir()
  const path = dir.file('a.db')
  using db = new DatabaseSync(path)
  db.exec(
    'PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER NOT NULL, text TEXT) STRICT; CREATE TABLE total (n INTEGER)',
  )
  db.exec('INSERT INTO total VALUES (0)')
  const writer = threadWriter(path)
  return {
    path,
    writer,
    rows(text = 'SELECT n FROM t ORDER BY rowid') {
      using db = new DatabaseSync(path)
      const statement = db.prepare(text)
      statement.setReadBigInts(true)
      return statement.all().map((row) => Object.values(row)[0])
    },
    async [Symbol.asyncDispose]() {
      await writer.close()
      await dir[Symbol.asyncDispose]()
    },
  }
}
const INSERT = 'INSERT INTO t VALUES (?, ?)'

test('is there when it resolves, and says what it has changed', async () => {
  await using w = await world()
  const done = await w.writer.write([
    [
      INSERT,
      [
        [1, 'a'],
        [2, 'b'],
        [3, 'c'],
      ],
    ],
    ['UPDATE t SET text = ? WHERE n > ?', [['x', 1]]],
    ['UPDATE total SET n = n + ?', 'changes'],
  ])
  expect(done.map(({ changes }) => changes)).toEqual([3, 2, 1])
  expect(done[0]!.last).toBe(3)
  expect(w.rows('SELECT n FROM total')).toEqual([5n])
})

test('what comes while it writes and cannot be written takes nothing else with it, and leaves nothing', async () => {
  await using w = await world()
  const writes = [[1], [2, null], [3]].map((values) => w.writer.write([[INSERT, values.map((n) => [n, ''])]]))
  const outcomes = await Promise.allSettled(writes)
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect((outcomes[1] as PromiseRejectedResult).reason).toMatchObject({ errcode: 1299, message: /NOT NULL/ })
  expect(w.rows()).toEqual([1n, 3n])
  await w.writer.write([[INSERT, [[4, '']]]])
  expect(w.rows()).toEqual([1n, 3n, 4n])
})

test('objects as text are written with every digit', async () => {
  await using w = await world()
  const numbers = [1n, 9_007_199_254_740_993n, 9_223_372_036_854_775_807n, -9_007_199_254_740_993n]
  const of = numbers.map((n) => `{"text":"\\"n\\":7,","n":${n}}`)
  await w.writer.write([[INSERT, { fields: ['n', 'text'], of }]])
  expect(w.rows()).toEqual(numbers)
  expect(w.rows('SELECT text FROM t LIMIT 1')).toEqual(['"n":7,'])
})

test('a patient write goes with the one after it, in order, and by itself where there is none', async () => {
  await using w = await world()
  const order: string[] = []
  const write = (n: number, patient: boolean) =>
    w.writer.write([[INSERT, [[n, '']]]], patient).then(() => order.push(patient ? 'patient' : 'other'))
  const patient = write(1, true)
  await setImmediate()
  expect(w.rows()).toEqual([])
  await Promise.all([patient, write(2, false)])
  expect(w.rows()).toEqual([1n, 2n])
  expect(order).toEqual(['patient', 'other'])
  await write(3, true)
  const last = write(4, true)
  await w.writer.close()
  await last
  expect(w.rows()).toEqual([1n, 2n, 3n, 4n])
})

test('what was handed over is written before the end', async () => {
  await using w = await world()
  const writes = [1, 2, 3].map((n) => w.writer.write([[INSERT, [[n, '']]]]))
  await w.writer.close()
  await Promise.all(writes)
  expect(w.rows()).toEqual([1n, 2n, 3n])
})

test('a file that is not there is not made', async () => {
  await using w = await world()
  const writer = threadWriter(`${w.path}.other`)
  await expect(writer.write([[INSERT, [[1, '']]]])).rejects.toThrow('unable to open database file')
  await writer.close()
  expect(existsSync(`${w.path}.other`)).toBe(false)
})
