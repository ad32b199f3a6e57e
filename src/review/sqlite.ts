import { Worker } from 'node:worker_threads'
import { failure } from '../io/sqlite.ts'
import type { Questions, Reviews } from './reviews.ts'
import { WORK } from './work.ts'

type Answer = { id: number; answer?: unknown; failure?: Error }

/** The questions, each handed to whoever answers it. */
export const answeredBy = (ask: (name: keyof Questions, given: unknown[]) => Promise<unknown>) =>
  Object.fromEntries(
    Object.keys(WORK).map((name) => [name, (...given: unknown[]) => ask(name as keyof Questions, given)]),
  ) as Questions

/** Of the table in a SQLite file. A thread of its own reads and writes: nothing here waits for a disk. */
export function sqliteReviews(path: string): Reviews {
  const waiting = new Map<number, PromiseWithResolvers<unknown>>()
  let thread: Worker | undefined
  let last = 0
  function start() {
    const started = new Worker(new URL('./thread.ts', import.meta.url), { workerData: path })
    const over = (error: Error) => {
      if (thread !== started) return
      thread = undefined
      for (const { reject } of waiting.values()) reject(error)
      waiting.clear()
    }
    started.unref()
    started.on('error', over).on('exit', () => over(new Error('the thread that reads it has ended')))
    started.on('message', ({ id, answer, failure: cause }: Answer) => {
      const asked = waiting.get(id)
      waiting.delete(id)
      if (cause) asked?.reject(failure('cannot review in', path, cause))
      else asked?.resolve(answer)
    })
    return started
  }
  return {
    ...answeredBy((name, given) => {
      thread ??= start()
      const asked = Promise.withResolvers<unknown>()
      waiting.set(++last, asked)
      thread.postMessage({ id: last, name, given })
      return asked.promise
    }),
    async close() {
      await thread?.terminate()
    },
  }
}
