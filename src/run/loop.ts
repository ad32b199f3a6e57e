import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { anyOf } from '../io/abort.ts'
import { isBug, Outage, reason, TakenOver } from '../io/errors.ts'
import { seconds } from '../io/text.ts'
import { makeRoom } from '../io/young.ts'
import type { Batch, Lease, LeaseName, Reader, Topics } from '../topic/topic.ts'
import { sayFailure } from './failure.ts'
import { MANY, type Turns } from './turns.ts'

/**
 * How a stage is, times in ms since 1970: since when it has worked, or failed in a row, and why at last; why alarms are
 * held back, since when, and until when. `last`: the last failure, also when it is over. `topics`: as far as it is about
 * reading and noting, where that is apart from the work.
 */
export type StageStatus = {
  since?: number
  failing?: { since: number; reason: string } | undefined
  last?: { at: number; reason: string }
  held?: { why: string; since: number; until: number } | undefined
  topics?: StageStatus
  /** frauds that wait for their alarm or are under way, as far as the stage has read */
  frauds?: number
  /** Is told of each failure that is tried again. */
  retrying?: (error: unknown) => void
}
/** ms after which a step has worked: it waits for something to do */
const LASTED = 60_000

/** What every stage is given. `stop` is aborted when the worker is asked to stop; `turns` are what those of a process share. */
export type Stage = { log: Logger; stop: AbortSignal; health?: StageStatus; turns?: Turns }

/**
 * The pause after so many failures in a row, in ms: doubled each time from `first` up to `most`, half of it left to
 * chance so that many workers do not come back in step.
 */
export function backoff(failures: number, first = 250, most = 60_000): number {
  const full = Math.min(most, first * 2 ** Math.min(failures - 1, 30))
  return full / 2 + (Math.random() * full) / 2
}

/**
 * Repeats `step` until stopped. A step that fails is logged in one line and tried again after a growing pause, and not
 * before `atLeast` ms; a bug is thrown. An aborted step after the stop is no failure. A step that gets somewhere before it
 * fails calls `answered`: the pauses begin anew; one that goes on for long calls `worked` once it works.
 */
export async function runLoop(
  stage: Stage,
  step: (answered: () => void, worked: () => void) => Promise<void>,
  atLeast = () => 0,
): Promise<void> {
  const { log, stop } = stage
  let [failures, since, said] = [0, 0, false]
  let row = 0 // failures before it got anywhere
  const answered = () => {
    row = 0
  }
  function worked() {
    reportSuccess(stage.health)
    if (said && failures > 1)
      log.info(`works again after ${failures} failed attempts in ${seconds(performance.now() - since)} s`)
    failures = row = 0
    said = false
  }
  while (!stop.aborted) {
    const began = performance.now()
    try {
      await step(answered, worked)
      worked()
    } catch (error) {
      if (stop.aborted && !isBug(error)) return
      if (performance.now() - began > LASTED) failures = row = 0
      if (failures++ === 0) since = performance.now()
      if (await pause(error, ++row, stage, atLeast())) said = true
    }
  }
}

/**
 * Tries until it works, e.g. to open what everything else needs; undefined, at once, when stopped meanwhile. Throws what is `final`:
 * what trying again cannot heal.
 */
export async function retryUntilReady<T>(
  stage: Stage,
  action: () => Promise<T>,
  final: (error: unknown) => boolean = () => false,
): Promise<T | undefined> {
  const done = new AbortController()
  let outcome: (() => T) | undefined
  await runLoop({ ...stage, stop: anyOf(stage.stop, done.signal) }, async () => {
    try {
      const result = await orAborted(stage.stop, action())
      outcome = () => result
    } catch (error) {
      if (!final(error)) throw error
      outcome = () => {
        throw error
      }
    }
    done.abort()
  })
  return outcome?.()
}

/** ms for which it is still tried after the stop, by all that share it: a file that is locked is free again by then */
const LAST_TRIES = 2000
const lastTries = new WeakMap<AbortSignal, AbortSignal>()

/** Tries until it is done, as what is at stake exists nowhere else. When stopped meanwhile it soon gives up and throws. */
export async function retry(stage: Stage, action: () => Promise<void>): Promise<void> {
  const { log, stop } = stage
  for (let failures = 1; ; failures++) {
    try {
      await action()
      if (failures > 1) reportSuccess(stage.health)
      return
    } catch (error) {
      if (error instanceof TakenOver) throw error
      if (stop.aborted && !lastTries.has(stop)) lastTries.set(stop, AbortSignal.timeout(LAST_TRIES))
      const late = lastTries.get(stop)
      if (late?.aborted) {
        log.error(`${reason(error)}; gave up, as the worker is stopping`)
        throw error
      }
      await pause(error, late ? 1 : failures, { ...stage, stop: late ?? stop })
    }
  }
}

/** `lasting: false`: one piece of work failed, and the rest goes on. */
export function reportFailure(
  health: StageStatus | undefined,
  error: unknown,
  { lasting = true, now = Date.now() } = {},
) {
  if (!health) return
  health.last = { at: now, reason: reason(error) }
  if (lasting) health.failing = { since: health.failing?.since ?? now, reason: reason(error) }
  health.retrying?.(error)
}
export function reportSuccess(health: StageStatus | undefined) {
  if (health?.failing) Object.assign(health, { failing: undefined, since: Date.now() })
}
/** A stage of which only reading and noting count: they say nothing of its work, nor that of them. */
export function ofTopics({ log, stop, health }: Stage): Stage {
  if (health) health.topics ??= health.retrying ? { retrying: health.retrying } : {}
  return { log, stop, ...(health?.topics && { health: health.topics }) }
}

/** Is true if the failure was said. */
async function pause(error: unknown, failures: number, { log, stop, health }: Stage, atLeast = 0): Promise<boolean> {
  if (isBug(error)) throw error
  reportFailure(health, error)
  const wait = Math.max(backoff(failures), atLeast, error instanceof Outage ? error.wait : 0)
  const said = sayFailure(log, reason(error), `retrying in ${seconds(wait)} s`)
  await sleep(wait, undefined, { signal: stop }).catch(() => {})
  return said
}

/** Rejects at once when aborted, whatever the other side does; the work itself goes on to its end. */
export async function orAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  work.catch(() => {})
  signal.throwIfAborted()
  using stack = new DisposableStack()
  const aborted = new Promise<never>((_, reject) => {
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort)
    stack.defer(() => signal.removeEventListener('abort', abort))
  })
  return await Promise.race([work, aborted])
}

/**
 * Reads batches and does their work, each until it is done. `work` commits what it has done of the batch. While all goes well
 * the next ones are read meanwhile, one at least and more while they have no more than `most` records together, and `ahead` is
 * told of them; after a failure they are read again, and what was begun for them is cancelled.
 */
export function consume<T>(
  { health, ...stage }: Stage,
  reader: Reader<T>,
  limit: () => number,
  work: (batch: Batch<T>, answered: () => void) => Promise<void>,
  ahead?: (records: readonly T[], cancelled: AbortSignal) => void,
  most = 0,
) {
  let least = 1
  let well = false
  let next: Promise<Batch<T>>[] = []
  let [held, busy] = [0, false] // records in them; is another one being read?
  let cancel = new AbortController()
  let either = anyOf(stage.stop, cancel.signal)
  const reading = ofTopics({ ...stage, ...(health && { health }) }).health
  let many = false // were there, at last
  async function read(stop = stage.stop) {
    if (many) await stage.turns?.turn()
    const batch = await reader.read(Math.max(limit(), least), stop)
    many = batch.records.length >= MANY
    if (many) makeRoom()
    if (many) await stage.turns?.turn()
    return batch
  }
  function readAhead() {
    if (!ahead || !well || busy || (next.length > 0 && held >= most)) return
    const mine = either
    const batch = read(mine)
    next.push(batch)
    busy = true
    const found = ({ records }: Batch<T>) => {
      busy = false
      held += records.length
      ahead(records, mine)
      readAhead()
    }
    batch.then((each) => mine.aborted || found(each)).catch(() => {}) // the next step says it
  }
  async function forget() {
    cancel.abort()
    await Promise.allSettled(next) // what is read now is read again
    ;[next, held, busy] = [[], 0, false]
    cancel = new AbortController()
    either = anyOf(stage.stop, cancel.signal)
    reader.rewind()
  }
  return runLoop(stage, async (answered) => {
    const early = next.shift()
    const batch = await (early ?? read()).catch((error) => {
      busy = false
      if (!stage.stop.aborted) reportFailure(reading, error)
      throw error
    })
    reportSuccess(reading)
    if (early) held -= batch.records.length
    readAhead()
    try {
      await work(batch, answered)
      least = 1
      well = true
      reportSuccess(health)
    } catch (error) {
      well = false
      least = error instanceof Outage && error.alone ? 2 : 1
      await forget()
      if (!(error instanceof TakenOver)) {
        reportFailure(health, error)
        throw error
      }
      reportSuccess(health) // what was wrong before is the other process's to find out
      stage.log.info(`${error.message}; it has what was in hand here`)
    }
  })
}

/** Does what only one process does at a time, whenever this one leads: `work` begins anew each time. */
export const leading = (
  stage: Stage,
  topics: Pick<Topics, 'lead'>,
  name: LeaseName,
  work: (lease: Lease) => Promise<void>,
): Promise<void> =>
  runLoop(stage, (_, worked) =>
    topics.lead(name, stage.stop, (lease) => {
      worked()
      return work(lease)
    }),
  )

/**
 * Runs loops side by side until all have ended. The first that fails stops the others, and its error is thrown; when
 * they were stopped already only a bug still is.
 */
export async function supervise(stop: AbortSignal, loops: ((stop: AbortSignal) => Promise<void>)[]): Promise<void> {
  const failure = new AbortController()
  const either = anyOf(stop, failure.signal)
  const run = (loop: (stop: AbortSignal) => Promise<void>) =>
    loop(either).catch((error) => {
      if (!stop.aborted || isBug(error)) failure.abort(error)
    })
  await Promise.all(loops.map(run))
  failure.signal.throwIfAborted()
}

/** A signal that is aborted `ms` after the given one: time to finish what is in flight. Free it when done. */
export function drainTimeout(signal: AbortSignal, ms: number): { signal: AbortSignal; [Symbol.dispose](): void } {
  const late = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const start = () => {
    timer = setTimeout(() => late.abort(signal.reason), ms)
  }
  if (signal.aborted) start()
  else signal.addEventListener('abort', start, { once: true })
  return {
    signal: late.signal,
    [Symbol.dispose]() {
      clearTimeout(timer)
      signal.removeEventListener('abort', start)
    },
  }
}
