import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { DAY } from '../io/time.ts'

const [START, MAIN] = ['../start.cjs', '../main.ts'].map((name) => fileURLToPath(new URL(name, import.meta.url))) as [
  string,
  string,
]

/**
 * Old rows are moved now and once a day, by the command, in a process of its own: nothing here waits for it, nor shares its
 * memory. It can be killed at any moment, and is when this ends.
 */
export function keepArchived(log: Logger, every = DAY): AsyncDisposable {
  const closing = new AbortController()
  const { signal } = closing
  let running: Promise<unknown> = Promise.resolve()
  async function move() {
    const child = spawn(process.execPath, ['-r', START, MAIN, 'archive'], { signal, killSignal: 'SIGKILL' })
    child.on('error', () => {}) // it ends then
    const told: string[] = []
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', (line) => told.push(line))
    const [code] = await once(child, 'close').catch(() => [])
    if (signal.aborted) return
    if (code === 0) for (const line of told) log.info(`archive: ${line}`)
    else
      log.error(`old rows were not moved: ${told.at(-1) ?? 'it was ended'}; tried again within a day: npm run archive`)
  }
  const begin = () => {
    running = Promise.all([running, move()])
  }
  begin()
  const timer = setInterval(begin, every).unref()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      closing.abort()
      await running
    },
  }
}
