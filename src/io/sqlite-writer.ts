import type { DatabaseSync } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import { BUSY_TIMEOUT, PRAGMAS } from './sqlite.ts'
import { type Done, type Outcome, type Step, writing } from './sqlite-write.cjs'

/** Writes to a SQLite file. */
export type Writer = {
  /** One transaction: all of the steps or none, durable when it resolves. `patient`: it may wait a moment for others. */
  write(steps: readonly Step[], patient?: boolean): Promise<Done[]>
  close(): Promise<void>
}

/** ms that a write waits for another one to go with, where nobody waits for it */
const PATIENCE = 250

/** By the connection that there is: who writes little. */
export function directWriter(db: DatabaseSync): Writer {
  const write = writing(db)
  return { write: async (steps) => write([steps])[0]!, async close() {} }
}

/**
 * By a thread of its own: nothing here waits for the disk. What comes while it writes goes together in the next transaction,
 * so that all of it waits for the disk once; if that fails, each by itself. `more`: what its connection is told besides.
 */
export function threadWriter(path: string, more = ''): Writer {
  type Job = PromiseWithResolvers<Done[]> & { steps: readonly Step[] }
  let waiting: Job[] = []
  let inHand: Job[] = []
  let thread: Worker | undefined
  let due = false // is anybody waiting for what waits?
  let timer: NodeJS.Timeout | undefined

  function start() {
    const writes = { path, pragmas: `${PRAGMAS}; ${more}`, timeout: BUSY_TIMEOUT }
    const started = new Worker(new URL('./sqlite-write.cjs', import.meta.url), {
      workerData: { writes },
      resourceLimits: { maxYoungGenerationSizeMb: 8 }, // what it is sent lives for a moment
    })
    const over = (error: Error) => {
      if (thread !== started) return
      thread = undefined
      for (const { reject } of [...inHand, ...waiting]) reject(error)
      inHand = waiting = []
    }
    started.on('error', over).on('exit', () => over(new Error('the thread that writes it has ended')))
    started.on('message', (outcomes: Outcome[]) => {
      for (const [i, { resolve, reject }] of inHand.entries()) {
        const outcome = outcomes[i]!
        if ('done' in outcome) resolve(outcome.done)
        else reject(Object.assign(new Error(outcome.failure.message), outcome.failure))
      }
      inHand = []
      handOver()
    })
    started.unref()
    return started
  }
  function handOver() {
    if (inHand.length > 0) return
    if (!due || waiting.length === 0) return thread?.unref()
    clearTimeout(timer)
    timer = undefined
    due = false
    thread ??= start()
    ;[inHand, waiting] = [waiting, []]
    thread.ref()
    thread.postMessage(inHand.map(({ steps }) => steps))
  }
  function hurry() {
    due = true
    handOver()
  }
  thread = start()
  return {
    write(steps, patient = false) {
      const job = { ...Promise.withResolvers<Done[]>(), steps }
      waiting.push(job)
      if (patient) timer ??= setTimeout(hurry, PATIENCE)
      else hurry()
      return job.promise
    },
    /** What was handed to it is written before. */
    async close() {
      hurry()
      while (inHand.length > 0) await Promise.allSettled([...inHand, ...waiting].map(({ promise }) => promise))
      const ending = thread
      thread = undefined
      if (!ending) return
      ending.ref()
      const ended = new Promise((resolve) => ending.once('exit', resolve))
      ending.postMessage(undefined)
      await ended
    },
  }
}
