import { ofTopics, retry, type Stage } from '../run/loop.ts'
import type { Batch, Lease } from '../topic/topic.ts'
import type { Prediction } from '../transaction.ts'
import type { Clock } from './clock.ts'
import type { Outbox, Waits } from './outbox.ts'
import type { Rows } from './rows.ts'

export type LedgerOptions = {
  lease: Lease
  rows: Rows
  outbox: Outbox
  clock: Clock
  /** Brings the small rows up to date; is called before each commit. */
  keep(): void
}
export type Ledger = ReturnType<typeof openLedger>

/** Notes what has changed, with the position, as long as this process leads. */
export function openLedger(stage: Stage, { lease, rows, outbox, clock, keep }: LedgerOptions) {
  let waits = rows.get('waits') as Waits | undefined
  let batch: Batch<Prediction> | undefined // read, and not passed
  let settling = Promise.resolve()
  let next: Promise<void> | undefined // has not begun

  /** Notes where everything is, one commit after the other. What is asked for before one begins goes with it. */
  function settle(): Promise<void> {
    next ??= settling = settling.then(async () => {
      await new Promise<void>((resolve) => process.nextTick(resolve)) // what one answer brings about is noted together
      next = undefined
      await retry(ofTopics(stage), commit)
    })
    return next
  }
  /** Notes why nothing goes out, or that something does: who audits asks. */
  function say(why: string | undefined) {
    if (why === waits?.why) return
    waits = why === undefined ? undefined : { why, since: clock.now() }
    settle().catch(() => {}) // who needs it noted hears of it
  }
  async function commit() {
    outbox.settle()
    keep()
    rows.keep('waits', waits)
    const fresh = outbox.opens.filter(({ noted }) => !noted)
    const { notes, kept } = rows.changes()
    const passed = batch
    // A position alone may wait for another commit, as long as no alarm is under way that would wait with it.
    const alone = Object.keys(notes).length === 0 && outbox.opens.length === 0
    if (passed) await passed.commit(passed.records.length, {}, alone ? undefined : notes)
    else await lease.note(notes)
    if (passed) batch = undefined
    kept()
    for (const open of fresh) open.noted = true
  }

  return {
    settle,
    say,
    /** Moves the position past what was read, with all that came of it. */
    pass(read: Batch<Prediction>): Promise<void> {
      batch = read
      return settle()
    },
    /** Resolves when a notification may go out: by what was `noted` of it, or for the asking, it is certain that nobody else sends it. */
    proven(noted = retry(ofTopics(stage), () => lease.note({}))): Promise<void> {
      noted.catch(() => {}) // where it matters `prove` says it
      return lease.prove(noted)
    },
  }
}
