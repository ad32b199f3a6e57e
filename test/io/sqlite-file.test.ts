import {
  closeSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { reason } from '../../src/io/errors.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { listeningLog, prediction, tempDir, transaction } from '../rows.ts'
import { sqliteTopics } from '../topic/asked.ts'
import { candidate } from '../topic/candidate.ts'

let dir: Awaited<ReturnType<typeof tempDir>>
let path: string
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }) // the file is looked at by the clock
  dir = await tempDir()
  path = dir.file('data/topics.db')
})
afterEach(async () => {
  vi.useRealTimers()
  await dir[Symbol.asyncDispose]()
})

const refusal = (work: Promise<unknown>) => work.then(() => 'done', reason)
const append = (topics: Awaited<ReturnType<typeof open>>, n: number) =>
  refusal(topics.append({ transactions: [transaction(n)] }))
/** The worker's topics; closed at the end of the test. */
async function open(options: Partial<Parameters<typeof sqliteTopics>[0]> = {}) {
  const topics = await sqliteTopics({ path, exclusive: true, ...options })
  onTestFinished(() => topics.close().catch(() => {}))
  return topics
}
async function numbers(file: string) {
  await using topics = Object.assign(await sqliteTopics({ path: file }), {
    async [Symbol.asyncDispose]() {
      await topics.close()
    },
  })
  const found: string[] = []
  for await (const { record } of topics.scan('transactions')) found.push(record.trans_num)
  return found
}
const some = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => `trans-${from + n}`)
async function fill(topics: Awaited<ReturnType<typeof open>>, from: number, to: number) {
  const all = Array.from({ length: to - from }, (_, n) => transaction(from + n))
  for (let i = 0; i < all.length; i += 50) await topics.append({ transactions: all.slice(i, i + 50) })
}
/** The folder as it is when the worker is killed now. */
function crashed(name: string) {
  mkdirSync(dir.file(name))
  for (const file of readdirSync(dirname(path)).filter((f) => !/-shm$|\.lock/.test(f)))
    copyFileSync(join(dirname(path), file), join(dir.file(name), file))
  return join(dir.file(name), 'topics.db')
}

describe('a file that is open', () => {
  const WAYS: [string, RegExp, () => void][] = [
    ['deleted', /was deleted while it was open; all that it held is in .*topics\.db\.saved: /, () => rmSync(path)],
    [
      'deleted with all beside it',
      /was deleted while it was open; all that it held is in /,
      () => readdirSync(dirname(path)).forEach((file) => void rmSync(join(dirname(path), file))),
    ],
    [
      'deleted with its folder',
      /was deleted while it was open; all that it held is in /,
      () => rmSync(dirname(path), { recursive: true }),
    ],
    ['renamed', /was moved away while it was open: move it back/, () => renameSync(path, `${path}.old`)],
    ['moved with its folder', /was moved away while it was open/, () => renameSync(dirname(path), dir.file('old'))],
    [
      'replaced by a copy',
      /was replaced while it was open: stop the worker, put the right file there/,
      () => {
        renameSync(path, `${path}.old`)
        copyFileSync(`${path}.old`, path)
      },
    ],
    [
      'replaced by another name for another file',
      /was replaced while it was open/,
      () => {
        writeFileSync(dir.file('other'), '')
        rmSync(path)
        symlinkSync(dir.file('other'), path)
      },
    ],
    ['emptied', /was emptied, cut or overwritten while it was open: .*restore a backup/, () => truncateSync(path, 0)],
    ['overwritten with text', /was emptied, cut or overwritten/, () => writeFileSync(path, 'x'.repeat(50_000))],
    ['left without its log', /-wal was deleted while it was open; what it held is in/, () => rmSync(`${path}-wal`)],
    ['left without its index', /-shm was deleted while it was open; what it held is in/, () => rmSync(`${path}-shm`)],
    ['left without its lock', /\.lock was deleted: start the worker again/, () => rmSync(`${path}.lock`)],
  ]
  test.for(WAYS)('and %s: is told within 10 s, and nothing more goes into it', async ([, said, harm]) => {
    const { log, lines } = listeningLog()
    const topics = await open({ log })
    await fill(topics, 0, 5)
    const lease = await candidate(topics, 'fetch').term()
    harm()
    vi.advanceTimersByTime(10_000)
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([['error', expect.stringMatching(said)]])
    expect(await append(topics, 5)).toMatch(said)
    const never = new AbortController().signal
    expect(await refusal(topics.reader('transactions', 'score').read(9, never))).toMatch(said)
    expect(await refusal(topics.append({}, { key: 1 }))).toMatch(said)
    expect(await refusal(lease.note({}))).toMatch(said) // or the producer would be called in vain
    expect(lines).toHaveLength(1)
  })

  test('and deleted: is refused at once, before anything is looked at by the clock', async () => {
    const topics = await open()
    rmSync(path)
    expect(await append(topics, 0)).toMatch(/was deleted while it was open/)
  })

  test('and overwritten with an older copy of itself: is told', async () => {
    const topics = await open()
    await topics.close()
    copyFileSync(path, dir.file('older'))
    const again = await open()
    await fill(again, 0, 8000) // more than one checkpoint
    expect(await append(again, 8000)).toBe('done')
    writeFileSync(path, readFileSync(dir.file('older')))
    expect(await append(again, 8001)).toMatch(/was emptied, cut or overwritten/)
  })

  test('and cut: is told within 10 s', async () => {
    const { log, lines } = listeningLog()
    const topics = await open({ log })
    await fill(topics, 0, 8000)
    truncateSync(path, 8192)
    vi.advanceTimersByTime(10_000)
    expect(lines[0]!.msg).toMatch(/was emptied, cut or overwritten/)
  })

  test('and shorter than its header says, as a full disk broke a checkpoint off: is whole, now and at the next start', async () => {
    const { log, lines } = listeningLog()
    const topics = await open({ log })
    await fill(topics, 0, 500)
    const file = openSync(path, 'r+')
    const more = Buffer.alloc(4)
    more.writeUInt32BE(statSync(path).size / 4096 + 1000)
    writeSync(file, more, 0, 4, 28) // pages, of which it has fewer: the others are in its -wal
    closeSync(file)
    vi.advanceTimersByTime(10_000)
    expect(await append(topics, 500)).toBe('done')
    await topics.close()
    const again = await open({ log })
    vi.advanceTimersByTime(10_000)
    expect(await append(again, 501)).toBe('done')
    expect(lines).toEqual([])
    expect(await numbers(path)).toEqual(some(0, 502))
  })

  test('and deleted: all that was committed is saved, and no new file takes its place until that is put back', async () => {
    const topics = await open()
    await fill(topics, 0, 20)
    for (const file of readdirSync(dirname(path))) rmSync(join(dirname(path), file))
    expect(await append(topics, 20)).toMatch(/all that it held is in /)
    await topics.close()
    const said = await refusal(open())
    expect(said).toMatch(/topics\.db\.saved is there, saved when .*topics\.db was deleted: move it to /)
    expect(existsSync(path)).toBe(false)
    renameSync(`${path}.saved`, path)
    const again = await open()
    await fill(again, 20, 21)
    expect(await numbers(path)).toEqual(some(0, 21))
  })

  test.for(['-wal', '-shm'])('and left without its %s: all is there at the next start', async (part) => {
    const topics = await open()
    await fill(topics, 0, 20)
    rmSync(`${path}${part}`)
    expect(await append(topics, 20)).toMatch(/was deleted while it was open/)
    const image = crashed('image')
    expect(await numbers(image)).toEqual(some(0, 20))
    await topics.close()
    await open()
    expect(await numbers(path)).toEqual(some(0, 20))
  })

  test.for([
    ['the file', () => path, () => `${path}.old`],
    ['its folder', () => dirname(path), () => dir.file('elsewhere')],
  ] as const)('and %s moved away and back: goes on, and nothing is missing', async ([, from, to]) => {
    const { log, lines } = listeningLog()
    const topics = await open({ log })
    await fill(topics, 0, 5)
    renameSync(from(), to())
    expect(await append(topics, 5)).toMatch(/moved away/)
    renameSync(to(), from())
    expect(await append(topics, 5)).toBe('done')
    expect(lines.map(({ msg }) => msg)).toEqual([expect.stringMatching(/moved away/), `${path} is back`])
    expect(await numbers(path)).toEqual(some(0, 6))
  })

  test('is left alone by backups, checkpoints and a VACUUM of others', async () => {
    const { log, lines } = listeningLog()
    const topics = await open({ log })
    await fill(topics, 0, 500)
    const other = new DatabaseSync(path)
    other.exec(`PRAGMA wal_checkpoint(TRUNCATE); VACUUM INTO '${dir.file('copy.db')}'; VACUUM`)
    other.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    other.close()
    await fill(topics, 500, 3500)
    expect(await append(topics, 3500)).toBe('done')
    vi.advanceTimersByTime(60_000)
    expect(lines).toEqual([])
  })

  test('of predictions and deleted: no new one is made, and the rows wait', async () => {
    const { log, lines } = listeningLog()
    const file = dir.file('data/fraud.db')
    const store = sqliteStore(file, { log })
    onTestFinished(() => store.close())
    await store.insert([prediction(1)])
    rmSync(file)
    for (let tries = 0; tries < 3; tries++)
      expect(await refusal(store.insert([prediction(2)]))).toMatch(/fraud\.db was deleted while it was open; all that/)
    expect(existsSync(file)).toBe(false)
    expect(lines).toHaveLength(1)
    await store.close()
    expect(() => sqliteStore(file, { log })).toThrow(`cannot open ${file}`)
    renameSync(`${file}.saved`, file)
    const again = sqliteStore(file, { log })
    onTestFinished(() => again.close())
    await again.insert([prediction(2)])
    expect(await again.missing([prediction(1), prediction(2), prediction(3)])).toHaveLength(1)
  })
})

describe('what is missing at the start', () => {
  /** A worker that was killed: all of it is in the -wal. */
  async function killed() {
    const topics = await open()
    for (let n = 0; n < 50; n++) await fill(topics, n, n + 1)
    vi.advanceTimersByTime(10_000) // the mark
    expect(readFileSync(`${path}.mark`, 'utf8')).toContain('50')
    return crashed('image')
  }
  const LESS = /topics\.db holds less than it did \(transactions: \d+ of 50\): its -wal was deleted or damaged/
  test.for([
    ['deleted', (file: string) => rmSync(`${file}-wal`)],
    ['emptied', (file: string) => truncateSync(`${file}-wal`, 0)],
    ['cut', (file: string) => truncateSync(`${file}-wal`, 100_000)],
    ['damaged', (file: string) => flip(`${file}-wal`, 60_000)],
    ['deleted, and the file too', (file: string) => ['', '-wal'].forEach((part) => void rmSync(`${file}${part}`))],
  ] as const)('is told when the -wal was %s, to the worker and to every command', async ([, harm]) => {
    const file = await killed()
    harm(file)
    for (const exclusive of [true, false, true])
      expect(await refusal(sqliteTopics({ path: file, exclusive }))).toMatch(LESS)
    rmSync(`${file}.mark`) // by hand
    const topics = await open({ path: file })
    expect(await append(topics, 50)).toBe('done')
  })

  test('is nothing after a kill with all files there, nor with a mark that was cut off', async () => {
    const file = await killed()
    writeFileSync(`${file}.mark`, '{"transac')
    await (await open({ path: file })).close()
    expect(await numbers(file)).toEqual(some(0, 50))
  })

  test('is told of predictions too, and a VACUUM is no loss', async () => {
    const file = dir.file('data/fraud.db')
    const { log } = listeningLog()
    const store = sqliteStore(file, { log })
    for (let n = 0; n < 20; n++) await store.insert([prediction(n), prediction(n)])
    await store.close()
    const db = new DatabaseSync(file)
    db.exec('DELETE FROM predictions WHERE rowid < 15; VACUUM')
    db.close()
    await sqliteStore(file, { log }).close()
    writeFileSync(`${file}.mark`, '{"rows":21}')
    expect(await refusal((async () => sqliteStore(file))())).toMatch(
      /fraud\.db holds less than it did \(rows: 20 of 21\)/,
    )
  })

  test('a damaged file is refused by the worker, with what SQLite found', async () => {
    const topics = await open()
    await fill(topics, 0, 2000)
    await topics.close()
    for (let at = 9 * 4096; at < 60 * 4096; at += 4096) flip(path, at)
    expect(await refusal(open())).toMatch(/topics\.db is damaged \(.*\): stop what uses it, and restore a backup/)
  })
})

describe('one file with two names', () => {
  test.for([
    ['a link to it', () => symlinkSync(path, dir.file('link.db')), 'link.db'],
    ['a link to a link to it', () => linkTwice(), 'link.db'],
    ['a link to its folder', () => symlinkSync(dirname(path), dir.file('folder')), 'folder/topics.db'],
    ['a path with detours', () => {}, 'data/../data/./topics.db'],
  ] as const)('lets no second worker in by %s', async ([, link, name]) => {
    const topics = await open()
    link()
    const second = `${dir.path}/${name}`
    expect(await refusal(open({ path: second }))).toMatch(/another worker is using /)
    await topics.close()
    expect(await (await open({ path: second })).noted('x')).toBe(undefined)
  })
  const linkTwice = () => {
    symlinkSync(path, dir.file('first.db'))
    symlinkSync(dir.file('first.db'), dir.file('link.db'))
  }

  test('lets none in by a link that was there before the file', async () => {
    symlinkSync(path, dir.file('link.db'))
    mkdirSync(dirname(path))
    await open({ path: dir.file('link.db') })
    expect(await refusal(open())).toMatch(/another worker is using /)
  })

  test('is refused with a hard link, by either name', async () => {
    const topics = await open()
    linkSync(path, dir.file('hard.db'))
    expect(await refusal(open({ path: dir.file('hard.db') }))).toMatch(/a second name \(a hard link\)/)
    await topics.close()
    expect(await refusal(open())).toMatch(/a second name \(a hard link\)/)
    rmSync(dir.file('hard.db'))
    await open()
  })
})

function flip(file: string, at: number) {
  const bytes = readFileSync(file)
  bytes[at] = bytes[at]! ^ 0x55
  writeFileSync(file, bytes)
}
