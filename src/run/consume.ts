import { anyOf } from '../io/abort.ts'
import { Outage, TakenOver } from '../io/errors.ts'
import { makeRoom } from '../io/young.ts'
import type { Batch, Reader } from '../topic/topic.ts'
import { ofTopics, reportFailure, reportSuccess, runLoop, type Stage } from './loop.ts'
import { MANY } from './turns.ts'

/** What is begun of records before it is their turn: cancelled when those before them fail. */
type Ahead<T, E> = (records: readonly T[], cancelled: AbortSignal) => E
/** A batch, and what `ahead` has begun of it. */
type InHand<T, E> = { batch: Batch<T>; early?: E }

/**
 * Reads batches and does their work, each until it is done. `work` commits what it has done of the batch. While all goes well
 * the next ones are read meanwhile, one at least and more while they have no more than `most` records together, and what
 * `ahead` says of them is handed to `work`; after a failure they are read again, and what was begun for them is cancelled.
 */
export function consume<T, E>(
  { health, ...stage }: Stage,
  reader: Reader<T>,
  limit: () => number,
  work: (batch: Batch<T>, answered: () => void, early: E | undefined) => Promise<void>,
  ahead?: Ahead<T, E>,
  most = 0,
) {
  let least = 1
  let again = true
  let many = false // were there, at last
  const reading = ofTopics({ ...stage, ...(health && { health }) }).health
  async function read(stop: AbortSignal) {
    if (many) await stage.turns?.turn()
    const batch = await reader.read(Math.max(limit(), least), stop, { again })
    again = false
    many = batch.records.length >= MANY
    if (many) makeRoom()
    if (many) await stage.turns?.turn()
    return batch
  }
  const open = () => openQueue<T, E>(read, stage.stop, ahead, most)
  let queue = open()
  return runLoop(stage, async (answered) => {
    const { batch, early } = await queue.next().catch((error) => {
      if (!stage.stop.aborted) reportFailure(reading, error)
      throw error
    })
    reportSuccess(reading)
    try {
      await work(batch, answered, early)
      least = 1
      reportSuccess(health)
    } catch (error) {
      least = error instanceof Outage && error.alone ? 2 : 1
      await queue.close()
      queue = open()
      again = true
      if (!(error instanceof TakenOver)) {
        reportFailure(health, error)
        throw error
      }
      reportSuccess(health) // what was wrong before is the other process's to find out
      stage.log.info(`${error.message}; it has what was in hand here`)
    }
  })
}

/** The batches of `consume`, as long as none of them fails. */
function openQueue<T, E>(
  read: (stop: AbortSignal) => Promise<Batch<T>>,
  stop: AbortSignal,
  ahead: Ahead<T, E> | undefined,
  most: number,
) {
  const cancel = new AbortController()
  const signal = anyOf(stop, cancel.signal)
  const queue: Promise<InHand<T, E>>[] = []
  let [held, busy, first] = [0, false, true] // records in it; is one being read?

  async function readAhead(begin: Ahead<T, E>): Promise<InHand<T, E>> {
    const batch = await read(signal)
    signal.throwIfAborted()
    held += batch.records.length
    busy = false
    const early = begin(batch.records, signal)
    more()
    return { batch, early }
  }
  function more() {
    if (!ahead || busy || (queue.length > 0 && held >= most)) return
    busy = true
    const next = readAhead(ahead)
    next.catch(() => {}) // whoever takes it says it
    queue.push(next)
  }
  return {
    /** To be called again once the work of the one before is done. */
    async next(): Promise<InHand<T, E>> {
      const early = queue.shift()
      if (!early) busy = false
      const next = await (early ?? read(stop).then((batch) => ({ batch })))
      if (early) held -= next.batch.records.length
      if (!first) more()
      first = false
      return next
    },
    /** What was read of it is read again. */
    async close() {
      cancel.abort()
      await Promise.allSettled(queue)
    },
  }
}
