import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { Outage } from '../io/errors.ts'
import { plural } from '../io/text.ts'
import { drainTimeout, leading, retry, retryUntilReady, runLoop, type Stage } from '../run/loop.ts'
import type { Lease, Topics } from '../topic/topic.ts'
import type { DeadLetter } from '../transaction.ts'
import { readInParts } from './document.ts'
import type { Producer } from './producer.ts'

/** ms that a call in flight is given to finish after the stop: an answer cut off is lost for good */
const GRACE = 5000
/** ms; a restart takes longer, so a shorter pause need not be remembered over one */
const WORTH_NOTING = 100

export type FetchOptions = {
  producer: Producer
  topics: Topics
  ratePerMin: number
  /** Throws when nothing more can be kept. */
  room?: () => Promise<void>
}

/**
 * Calls the producer at its rate and makes what it sends durable before the next call. Calls are spread evenly, 1 %
 * further apart than the rate allows, so that no 60 s by any clock hold more of them; the last one is noted before it
 * is made, so that a restart, or the next process that leads, keeps the distance too.
 */
export function fetchStage(stage: Stage, { producer, topics, ratePerMin, room }: FetchOptions): Promise<void> {
  const distance = (60_000 / ratePerMin) * 1.01
  let calledAt = 0
  const told = new Set<string>() // columns that could not be read

  // A clock that was set back must not stop us for longer than one distance.
  const untilNext = () => Math.min(calledAt + distance - Date.now(), distance)

  async function step(lease: Lease) {
    await room?.()
    const wait = untilNext()
    if (wait >= 1) await sleep(wait, undefined, { signal: lease.stop })
    calledAt = Date.now()
    await lease.note(distance >= WORTH_NOTING ? { fetch: { called_at: calledAt } } : {})

    using late = drainTimeout(stage.stop, GRACE)
    await keep(await producer.call(late.signal))
  }
  /** In parts, and in between others have their turn: a body may hold millions of rows. */
  async function keep(body: string) {
    const { log } = stage
    let [rows, aside] = [0, 0]
    let first: DeadLetter | undefined
    for (const part of readInParts(body, Date.now(), stage.stop)) {
      const { transactions, letters, unread = [], wholeBody, refused } = part
      if (refused !== undefined) throw new Outage(`the producer answered 200, and no data: ${refused}`)
      if (transactions.length + letters.length > 0)
        await retry(stage, () => topics.append({ transactions, 'dead-letters': letters }))
      rows += transactions.length
      aside += part.bad
      first ??= letters[0]
      for (const [column, what] of unread) {
        if (!told.has(column)) log.warn(`the producer's column ${column} ${what}; said once for each column`)
        told.add(column)
      }
      if (wholeBody) throw new Error(`${first!.reason}; it is kept in dead-letters`)
      await setImmediate()
    }
    log.debug(`fetched ${plural(rows, 'transaction')}`)
    if (first)
      log.warn(
        `${aside > 0 ? `${plural(aside, 'row')} of the producer` : 'the rest of a body'} set aside in dead-letters: ${first.reason}`,
      )
  }
  return leading(stage, topics, 'fetch', async (lease) => {
    const term = { ...stage, stop: lease.stop }
    const state = await retryUntilReady(term, () => topics.state('fetch'))
    const noted = state?.get('fetch') as { called_at: number } | undefined
    calledAt = Math.max(calledAt, noted?.called_at ?? 0)
    await runLoop(term, () => step(lease), untilNext)
  })
}
