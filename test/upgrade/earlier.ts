import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'
import { disposable, outside } from '../outside.ts'
import { LONG_CARD, row, tempDir, waitFor } from '../rows.ts'

// Data folders that earlier states of the program made: `node test/upgrade/earlier.ts` makes them anew, from the history.

/** By name: the commit that made it, and which schema its database has. */
export const EARLIER = {
  'november-23': { commit: '167dce2', schema: 1 },
  'november-27': { commit: 'fac1e62', schema: 2 },
  'november-28': { commit: '2801f75', schema: 3 },
} as const
export type Earlier = keyof typeof EARLIER
export const FILES = ['topics.db', 'fraud.db'] as const

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const kept = (name: Earlier, file: string) => fileURLToPath(new URL(`${name}.${file}.gz`, import.meta.url))

/**
 * 6 rows that are done, of which 0 and 5 are frauds, and mailed; 0 was confirmed, in the database. 5 that are judged and
 * recorded, of which fraud 10 waits for the mail server. 4 that wait for the model. One that was set aside.
 */
export const ROWS = Array.from({ length: 15 }, (_, n) =>
  row(n, { cc_num: LONG_CARD - BigInt(n), ...(n % 5 === 0 && { amt: 1000 + n }) }),
)
const BAD = row(99, { amt: 'much' })

/** Puts the files into a folder as they were left. */
export function unpack(name: Earlier, folder: string) {
  mkdirSync(folder, { recursive: true })
  for (const file of FILES) writeFileSync(join(folder, file), gunzipSync(readFileSync(kept(name, file))))
}

/** The program as it was, with the packages of today; undefined where the history is not there. */
export function program(name: Earlier, folder: string): string | undefined {
  const archive = spawnSync('git', ['-C', ROOT, 'archive', EARLIER[name].commit, 'src', 'package.json'], {
    maxBuffer: 2 ** 28,
  })
  if (archive.status !== 0) return undefined
  mkdirSync(folder, { recursive: true })
  spawnSync('tar', ['-x', '-C', folder], { input: archive.stdout })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'), 'dir')
  return join(folder, 'src/main.ts')
}

/** It runs, with these settings. */
export function start(main: string, folder: string, settings: Record<string, string>) {
  const { PATH = '' } = process.env
  const env = { PATH, PORT: '0', ...settings }
  const child = spawn(process.execPath, [main], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (some) => (text += some))
  const end = new Promise<number | null>((resolve) => child.on('close', resolve))
  return {
    text: () => text,
    end,
    async stop() {
      child.kill('SIGTERM')
      return await end
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await end
    },
  }
}

async function make(name: Earlier) {
  await using dir = await tempDir()
  const rows: Record<string, unknown>[] = []
  await using world = await outside(rows, dir.path)
  const main = program(name, dir.file('program'))
  if (!main) throw new Error(`the commit ${EARLIER[name].commit} is not in the history here`)
  await using first = start(main, dir.path, world.env)
  const feed = (...more: Record<string, unknown>[]) => {
    world.producer.next = rows.length
    rows.push(...more)
  }
  feed(...ROWS.slice(0, 6), BAD)
  await waitFor('the first', () => world.recorded().length === 6 && world.smtp.mails.length >= 2)
  await waitFor('what was set aside', () => world.producer.next > 7)
  if ((await first.stop()) !== 0) throw new Error(first.text())
  world.smtp.down = true
  await using worker = start(main, dir.path, world.env) // another one: sessions are kept
  feed(...ROWS.slice(6, 11))
  await waitFor('the next', () => world.recorded().length === 11)
  world.model.down = true
  feed(...ROWS.slice(11))
  await waitFor('the last', () => world.producer.next > rows.length)
  if ((await worker.stop()) !== 0) throw new Error(worker.text())
  {
    using db = disposable(new DatabaseSync(dir.file('fraud.db')))
    db.exec(
      `UPDATE predictions SET fraud_confirmed = 1, reviewed_at = 1767400000000, reviewed_by = 'anna' WHERE trans_num = 'trans-0'`,
    )
  }
  for (const file of FILES) {
    const whole = dir.file(`whole-${file}`)
    using db = disposable(new DatabaseSync(dir.file(file)))
    db.prepare('VACUUM INTO ?').run(whole)
    writeFileSync(kept(name, file), gzipSync(readFileSync(whole), { level: 9 }))
  }
}

if (import.meta.main)
  for (const name of Object.keys(EARLIER) as Earlier[]) {
    for (const file of FILES) if (existsSync(kept(name, file))) rmSync(kept(name, file))
    await make(name)
  }
