import { execFileSync } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { openRoom } from '../../src/fetch/disk-guard.ts'
import { outside, someRows } from '../outside.ts'
import { tempDir, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'

const MB = 1e6
/** A disk of so many free bytes, looked at each time. */
function disk(free: number, { files = ['data/topics.db'], reserve = 200, waiting = 0 } = {}) {
  const state = { free, waiting, looks: 0 }
  const room = openRoom({
    files,
    reserve,
    look: 0,
    waiting: async () => state.waiting,
    free: async () => {
      state.looks++
      return state.free
    },
  })
  return { state, room }
}

test('lets fetching go on while the reserve is free, and says what is wrong when it is not', async () => {
  const { state, room } = disk(200 * MB)
  await room()
  state.free -= MB
  await expect(room()).rejects.toThrow(
    '199 MB are free on the disk of data/topics.db, and 200 are to stay (DISK_RESERVE_MB=200 and what the waiting records need): nothing is fetched until there is room',
  )
})

test('goes on when there is a tenth more, not at each byte', async () => {
  const { state, room } = disk(199 * MB)
  await expect(room()).rejects.toThrow('are to stay')
  state.free = 219 * MB
  await expect(room()).rejects.toThrow('219 MB are free on the disk of data/topics.db, and 220 are to stay')
  state.free = 221 * MB
  await room()
  state.free = 200 * MB
  await room()
})

test('keeps room for what is still to be scored and recorded', async () => {
  const { state, room } = disk(260 * MB, { waiting: 50_000 })
  await room()
  state.waiting = 50_001
  await expect(room()).rejects.toThrow('260 MB are free')
})

test('looks at the disk of each file, and at none without any, or without a reserve', async () => {
  const two = disk(300 * MB, { files: ['a/topics.db', 'b/fraud.db'] })
  await two.room()
  expect(two.state.looks).toBe(2)
  for (const none of [disk(0, { files: [] }), disk(0, { reserve: 0 })]) {
    await none.room()
    expect(none.state.looks).toBe(0)
  }
})

test('counts what is free inside a file: it never shrinks', async () => {
  await using dir = await tempDir()
  const file = dir.file('topics.db')
  {
    using db = new DatabaseSync(file)
    db.exec('CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(5000000)); DELETE FROM t')
  }
  const { state, room } = disk(196 * MB, { files: [file] })
  await room()
  state.free = 194 * MB
  await expect(room()).rejects.toThrow('199 MB are free')
})

test('does not look more often than it is worth', async () => {
  let looks = 0
  const room = openRoom({
    files: ['topics.db'],
    reserve: 1,
    look: 60_000,
    waiting: async () => 0,
    free: async () => ++looks,
  })
  await expect(room()).rejects.toThrow('nothing is fetched')
  await expect(room()).rejects.toThrow('nothing is fetched')
  expect(looks).toBe(1)
})

test('is no obstacle where it cannot be seen', async () => {
  await openRoom({ files: ['/nowhere/at/all/topics.db'], reserve: 1, waiting: async () => 0 })()
})

/** A file system of its own, or undefined where one cannot be made. */
async function smallDisk(path: string, mb: number) {
  await mkdir(path)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mb}m`, 'tmpfs', path], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  return { [Symbol.dispose]: () => void execFileSync('umount', ['--lazy', path]) }
}

test.skipIf(process.platform !== 'linux' || process.getuid?.() !== 0)(
  'a real disk that fills up stops the fetching, nothing else, and it goes on by itself when there is room',
  { timeout: 300_000 },
  async ({ skip }) => {
    await using dir = await tempDir()
    const folder = dir.file('disk')
    using small = await smallDisk(folder, 40)
    if (!small) return skip('no file system can be mounted here')
    await using world = await outside(someRows(4000), folder)
    world.model.down = true
    const env = { ...world.env, PRODUCER_RATE_PER_MIN: '6000', DISK_RESERVE_MB: '20', PORT: '0' }
    await using worker = startWorker(dir.path, env)
    await waitFor('some are fetched', () => world.producer.next > 50)
    await writeFile(`${folder}/other`, Buffer.alloc(18 * 2 ** 20))
    await waitFor('a word about it', () => /MB are free on the disk of .*topics\.db/.test(worker.text()))
    const fetched = world.producer.next
    world.model.down = false
    await waitFor('what waited to be recorded', () => world.recorded().length === fetched)
    await waitFor('the frauds to be mailed', () => world.smtp.mails.length === Math.ceil(fetched / 5))
    expect(world.producer.next).toBe(fetched)
    await rm(`${folder}/other`)
    await waitFor('more to be fetched', () => world.producer.next > fetched, 70_000)
    await waitFor('these to be recorded', () => world.recorded().length > fetched)
    worker.kill('SIGTERM')
    expect((await worker.end).code).toBe(0)
  },
)
