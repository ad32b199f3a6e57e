import { existsSync, readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'
import { basename } from 'node:path'
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { utc } from '../io/time.ts'
import type { Statement } from './figures.ts'
import type { Questions } from './reviews.ts'
import { WORK, WRITES } from './work.ts'

/** a third of what a thread gets that is busy, too: an alarm waits for nobody who reads */
const LOWER = 5
// Linux knows the thread alone by its number.
try {
  setPriority(Number(basename(readlinkSync('/proc/thread-self'))), LOWER)
} catch {} // elsewhere it goes on as it is

/** ms that a verdict may wait for the worker, which writes a batch at a time */
const BUSY_TIMEOUT = 5000
const path = workerData as string

/** One question, on a connection of its own: whatever happens to the file, the next one sees it as it is then. */
function answer(name: keyof Questions, given: unknown[]) {
  if (!existsSync(path)) throw new Error(`there is no ${path} yet`)
  const writes = WRITES.includes(name)
  const synchronous = name === 'keep' ? 'NORMAL' : 'FULL' // a judgement that a power cut takes is no loss, and nobody waits for a disk
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT, readOnly: !writes })
  try {
    db.exec(writes ? `PRAGMA synchronous = ${synchronous}; BEGIN IMMEDIATE` : 'BEGIN')
    const work = (WORK[name] as (...given: unknown[]) => Generator<Statement, unknown, unknown[]>)(...given)
    let step = work.next()
    while (!step.done) step = work.next(rows(db, step.value))
    db.exec('COMMIT')
    return step.value
  } finally {
    db.close() // which takes back what was not committed
  }
}

/** By place, not by name: of thousands of names SQLite looks for each among all. */
function rows(db: DatabaseSync, [text, values = []]: Statement) {
  const given: SQLInputValue[] = []
  const placed = text.replace(/\$(\d+)/g, (_, n) => {
    const value = values[Number(n) - 1] ?? null
    given.push(value instanceof Date ? utc(+value) : value)
    return '?'
  })
  const statement = db.prepare(placed.replace(' FOR UPDATE', '')) // nobody else writes meanwhile
  statement.setReadBigInts(true)
  return statement.all(...given)
}

parentPort!.on('message', ({ id, name, given }: { id: number; name: keyof Questions; given: unknown[] }) => {
  try {
    parentPort!.postMessage({ id, answer: answer(name, given) })
  } catch (error) {
    parentPort!.postMessage({ id, failure: error })
  }
})
