import { TakenOver } from '../io/errors.ts'
import { ofTopics, retry, type Stage } from '../run/loop.ts'
import type { Batch, Reader } from '../topic/topic.ts'
import type { Prediction } from '../transaction.ts'
import type { Clock } from './clock.ts'
import type { Outbox, Waits } from './outbox.ts'
import type { Rows } from './rows.ts'

/** ms between two proofs, while a notification is under way, that it is still this process's turn to mail */
const PROVE_AGAIN = 1000

export type LedgerOptions = {
  reader: Reader<Prediction>
  rows: Rows
  /** the keys of the rows begin with this */
  name: string
  outbox: Outbox
  clock: Clock
  /** Brings the small rows up to date; is called before each commit. */
  keep(): void
}
export type Ledger = ReturnType<typeof openLedger>

/** Notes what has changed, with the position, as long as it is this process's turn. */
export function openLedger(stage: Stage, { reader, rows, name, outbox, clock, keep }: LedgerOptions) {
  let waits = rows.get('waits') as Waits | undefined
  let batch: Batch<Prediction> | undefined // read, and not passed
  let settling = Promise.resolve()
  const lost = new AbortController() // its turn: what is under way is cut short

  /** Notes where everything is, one call after the other. */
  function settle(): Promise<void> {
    settling = settling.then(() => retry(ofTopics(stage), commit)).catch(whenLost)
    return settling
  }
  function whenLost(error: unknown): never {
    if (error instanceof TakenOver) lost.abort(error)
    throw error
  }
  /** Notes why nothing goes out, or that something does: who audits asks. */
  function say(why: string | undefined) {
    if (why === waits?.why) return
    waits = why === undefined ? undefined : { why, since: clock.now() }
    settle().catch(() => {}) // who needs it noted hears of it
  }
  /** Looks again and again, while a notification is under way, whether it is still this process's turn. */
  async function proveAgain(until: AbortSignal) {
    while (!until.aborted) {
      await clock.sleep(PROVE_AGAIN, until)
      if (until.aborted) return
      await reader.note(proof()).catch((error) => {
        if (error instanceof TakenOver) lost.abort(error) // an outage says nothing of it
      })
    }
  }
  async function commit() {
    outbox.settle()
    keep()
    rows.keep('waits', waits)
    const fresh = outbox.opens.filter(({ noted }) => !noted)
    const { notes, kept } = rows.changes()
    const passed = batch
    if (passed) await passed.commit(passed.records.length, {}, notes)
    else if (Object.keys(notes).length > 0) await reader.note(notes)
    else if (!reader.alone) await reader.note(proof())
    if (passed) batch = undefined
    kept()
    for (const open of fresh) open.noted = true
  }
  /** Written only to be refused if it is another process's turn. */
  const proof = () => ({ [`${name}/turn`]: clock.now() })

  return {
    /** Can it never be another process's turn? Then a notification need not wait for the topics. */
    alone: reader.alone ?? false,
    settle,
    say,
    /** Moves the position past what was read, with all that came of it. */
    pass(read: Batch<Prediction>): Promise<void> {
      batch = read
      return settle()
    },
    /** Proves meanwhile that it is still this process's turn; `work` is cut short when it is not. */
    async prove<T>(work: (lost: AbortSignal) => Promise<T>): Promise<T> {
      const over = new AbortController()
      if (!reader.alone) void proveAgain(over.signal)
      try {
        return await work(lost.signal)
      } finally {
        over.abort()
      }
    },
  }
}
