import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { disposable } from '../test/outside.ts'
import type { startWorker } from '../test/worker.ts'
import type { Lap } from './probe.ts'

/** The worker in a folder, measured from inside. `node`: more for Node.js. */
export function started(
  start: typeof startWorker,
  folder: string,
  env: Record<string, string>,
  { giveUp = 300_000, node = '' } = {},
) {
  const laps = join(folder, 'laps.json')
  const probed = {
    NODE_OPTIONS: `--import=${join(import.meta.dirname, 'probe.ts')} ${node}`,
    BENCH_LAPS: laps,
    NODE_COMPILE_CACHE: '',
  }
  const topics = { TOPICS_URL: `sqlite:${folder}/topics.db`, DATABASE_URL: `sqlite:${folder}/fraud.db` }
  const worker = start(folder, { ...probed, ...topics, ...env })
  return {
    lap: () => worker.kill('SIGUSR2'),
    async until(what: string, look: () => boolean | Promise<boolean>, every = 10) {
      for (const end = Date.now() + giveUp; !(await look()); await sleep(every))
        if (Date.now() > end || !worker.running()) throw new Error(`no ${what} in time:\n${worker.text()}`)
    },
    async stop(): Promise<Lap[]> {
      worker.kill('SIGTERM')
      const { code } = await worker.end
      if (code !== 0) throw new Error(worker.text())
      return JSON.parse(await readFile(laps, 'utf8'))
    },
    [Symbol.asyncDispose]: worker[Symbol.asyncDispose],
  }
}

/** How many rows a table has, without counting them: nothing is deleted meanwhile. */
export function watched(folder: string, file: string, table: string) {
  let db: (DatabaseSync & Disposable) | undefined
  return {
    count(): number {
      try {
        db ??= disposable(new DatabaseSync(join(folder, file), { readOnly: true, timeout: 1000 }))
        return Number(db.prepare(`SELECT max(rowid) AS n FROM ${table}`).get()?.n ?? 0)
      } catch {
        return 0 // not yet
      }
    },
    [Symbol.dispose]: () => db?.close(),
  }
}
