import { copyFileSync, readdirSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { disposable, outside } from '../outside.ts'
import { LONG_CARD, tempDir, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'
import { EARLIER, type Earlier, FILES, program, ROWS, start, unpack } from './earlier.ts'

const NAMES = Object.keys(EARLIER) as Earlier[]
const ask = (file: string, sql: string) => {
  using db = disposable(new DatabaseSync(file))
  return Object.values(db.prepare(sql).get()!)[0]
}
const command = async (folder: string, env: Record<string, string>, ...args: string[]) => {
  await using run = startWorker(folder, env, ...args)
  return { code: (await run.end).code, text: run.text() }
}
/** Systems outside that have nothing new, and a folder as an earlier program left it. */
async function place(name: Earlier) {
  const stack = new AsyncDisposableStack()
  const dir = stack.use(await tempDir())
  unpack(name, dir.path)
  const world = stack.use(await outside([], dir.path))
  return { dir, world, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

test('the folders are of three schemas, and small', () => {
  expect(Object.values(EARLIER).map(({ schema }) => schema)).toEqual([1, 2, 3])
})

test.for(NAMES)('what waited in a folder of %s is done, once, and what was done and said stays', async (name) => {
  await using p = await place(name)
  const { dir, world } = p
  expect(ask(dir.file('fraud.db'), 'PRAGMA user_version')).toBe(EARLIER[name].schema)
  await using worker = startWorker(dir.path, world.env)
  await waitFor('all rows', () => world.recorded().length === ROWS.length)
  await waitFor('the fraud that waited', () => world.mailed('trans-10') === 1)
  const letters = await command(dir.path, world.env, 'dead-letters')
  expect(letters.text).toContain('amt must be a finite number')
  worker.kill('SIGTERM')
  expect((await worker.end).code).toBe(0)
  expect(world.recorded().map(({ cc_num }) => cc_num)).toEqual(ROWS.map((_, n) => LONG_CARD - BigInt(n)))
  expect(['trans-0', 'trans-5', 'trans-10'].map(world.mailed)).toEqual([0, 0, 1])
  expect(world.recorded()[0]).toMatchObject({ fraud_confirmed: 1n, reviewed_by: 'anna', is_fraud: 0n, prediction: 1n })
  expect(await command(dir.path, world.env, 'audit')).toMatchObject({
    code: 0,
    text: expect.stringContaining('the account holds'),
  })
})

test('back by one: a backup that was made before is what the earlier program goes on with', async () => {
  const name = NAMES.at(-1)!
  await using p = await place(name)
  const { dir, world } = p
  expect((await command(dir.path, world.env, 'backup', 'before')).code).toBe(0)
  expect(readdirSync(dir.file('before')).toSorted()).toEqual([...FILES].sort())
  expect(ask(dir.file('before/fraud.db'), 'PRAGMA user_version')).toBe(EARLIER[name].schema)
  {
    await using worker = startWorker(dir.path, world.env)
    await waitFor('all rows', () => world.recorded().length === ROWS.length)
    worker.kill('SIGTERM')
    await worker.end
  }
  const newer = Number(ask(dir.file('fraud.db'), 'PRAGMA user_version')) > EARLIER[name].schema
  const main = program(name, dir.file('program'))
  if (!main) return // no history here: what the backup is was seen above
  if (newer) {
    await using refused = start(main, dir.path, world.env)
    expect(await refused.end).not.toBe(0)
    expect(refused.text()).toMatch(/schema version \d+ and this program knows version \d+: update the program/)
  }
  for (const file of FILES) {
    for (const end of ['', '-wal', '-shm', '.mark']) rmSync(dir.file(file + end), { force: true })
    copyFileSync(dir.file(`before/${file}`), dir.file(file))
  }
  expect(world.recorded()).toHaveLength(11)
  await using earlier = start(main, dir.path, world.env)
  await waitFor('all rows again', () => world.recorded().length === ROWS.length)
  expect(await earlier.stop()).toBe(0)
  expect(world.recorded()[0]).toMatchObject({ fraud_confirmed: 1n, reviewed_by: 'anna' })
})
