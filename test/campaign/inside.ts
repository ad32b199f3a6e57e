import { readFileSync } from 'node:fs'
import { DatabaseSync, StatementSync } from 'node:sqlite'
import { isMainThread } from 'node:worker_threads'

// Loaded before the worker, by `node --import`: dies at a step of its own that nobody outside can see, and lives in another
// time. CAMPAIGN_DIES=before|after:N: around the N-th commit. CAMPAIGN_FAILS=N:M: of N commits of a thread the last M do
// nothing but fail, as on a disk that is full for a moment; one alone is made up for at once, as what went together is tried
// singly. CAMPAIGN_CLOCK: a file that holds the ms by which the wall clock is wrong; SIGUSR2 says that there are others.

const [when, count] = (process.env.CAMPAIGN_DIES ?? 'never:0').split(':')
let left = Number(count)
const die = () => process.kill(process.pid, 'SIGKILL')

/** Runs a commit, or dies on it. */
function around<T>(commit: () => T): T {
  const now = --left === 0
  if (now && when === 'before') die()
  const done = commit()
  if (now && when === 'after') die()
  return done
}

const [every = 0, many = 0] = (process.env.CAMPAIGN_FAILS ?? '').split(':').map(Number)
let commits = 0
const fails = () => every > 0 && commits++ % every >= every - many
const failed = (more: object) => Object.assign(new Error('this commit fails'), more)

const { exec } = DatabaseSync.prototype
DatabaseSync.prototype.exec = function (sql) {
  if (sql === 'COMMIT' && !isMainThread && fails()) throw failed({ code: 'ERR_SQLITE_ERROR', errcode: 10 })
  return sql === 'COMMIT' ? around(() => exec.call(this, sql)) : exec.call(this, sql)
}
const { run } = StatementSync.prototype
StatementSync.prototype.run = function (this: StatementSync, ...values: never[]) {
  return this.sourceSQL === 'COMMIT' ? around(() => run.apply(this, values as never)) : run.apply(this, values as never)
} as typeof run
if (/^postgres/.test(process.env.TOPICS_URL ?? '')) {
  const { default: pg } = await import('pg')
  const { query } = pg.Client.prototype
  pg.Client.prototype.query = function (this: unknown, ...given: unknown[]) {
    const send = () => (query as (...given: unknown[]) => unknown).apply(this, given)
    if (given[0] !== 'COMMIT') return send()
    if (!fails()) return around(send)
    return (query as (text: string) => Promise<unknown>).call(this, 'ROLLBACK').then(() => {
      throw failed({ code: '53100' })
    })
  } as never
}

const clock = process.env.CAMPAIGN_CLOCK
if (clock) {
  const RealDate = Date
  let wrong = 0
  const set = () => {
    wrong = Number(readFileSync(clock, 'utf8')) || 0
  }
  set()
  process.on('SIGUSR2', set)
  globalThis.Date = class extends RealDate {
    constructor(...given: []) {
      super(...((given.length > 0 ? given : [RealDate.now() + wrong]) as []))
    }
    static override now = () => RealDate.now() + wrong
  } as DateConstructor
}
