'use strict'
// What writes to a SQLite file, here or as the thread that sqlite-writer.ts starts. Plain JavaScript: a thread that begins
// with TypeScript takes several times as long to start, and as much memory.
const { DatabaseSync } = require('node:sqlite')
const { pathToFileURL } = require('node:url')
const { parentPort, workerData } = require('node:worker_threads')

/**
 * A statement, and the values for each time that it runs; `changes`: once, with how many rows the steps before it have changed.
 * Values may be the `fields` of objects as JSON: one long text goes to a thread in a tenth of the time of its values.
 * @typedef {import('node:sqlite').SQLInputValue} Value
 * @typedef {{ fields: readonly string[], of: readonly string[] }} Texts
 * @typedef {readonly [sql: string, values: readonly (readonly Value[])[] | 'changes' | Texts]} Step
 * How many rows a step has changed, and the last rowid that it has made.
 * @typedef {{ changes: number, last: number }} Done
 * @typedef {{ done: Done[] } | { failure: { message: string, code?: string, errcode?: number } }} Outcome
 */

/** @param {Texts} texts */
function* valuesOf({ fields, of }) {
  for (const text of of) {
    const object = JSON.parse(text)
    yield fields.map((field) => {
      const value = object[field] ?? null
      if (typeof value !== 'number' || Math.abs(value) < 2 ** 53) return value
      const digits = new RegExp(`"${field}":(-?\\d+)[,}]`).exec(text)?.[1] // of a card number the engine loses some
      return digits === undefined ? value : BigInt(digits)
    })
  }
}

/**
 * Runs jobs of steps as one transaction: all or nothing, durable when it returns.
 * @param {DatabaseSync} db
 */
function writing(db) {
  /** @type {Map<string, import('node:sqlite').StatementSync>} */
  const statements = new Map()
  /** @param {string} sql */
  function prepared(sql) {
    const known = statements.get(sql) ?? db.prepare(sql)
    statements.set(sql, known)
    return known
  }
  /** @param {readonly Step[]} steps */
  function run(steps) {
    let total = 0
    return steps.map(([sql, values]) => {
      const statement = prepared(sql)
      let [changes, last] = [0, 0]
      for (const each of values === 'changes' ? [[total]] : 'of' in values ? valuesOf(values) : values) {
        const result = statement.run(...each)
        changes += Number(result.changes)
        last = Number(result.lastInsertRowid)
      }
      total += changes
      return { changes, last }
    })
  }
  /** @param {readonly (readonly Step[])[]} jobs */
  return (jobs) => {
    try {
      db.exec('BEGIN IMMEDIATE')
      const done = jobs.map(run)
      db.exec('COMMIT')
      return done
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK')
      throw error
    }
  }
}
exports.writing = writing

/**
 * @param {{ path: string, pragmas: string, timeout: number }} file
 * @param {import('node:worker_threads').MessagePort} port
 */
function listen({ path, pragmas, timeout }, port) {
  const there = pathToFileURL(path)
  there.searchParams.set('mode', 'rw') // one that is gone is not made anew
  /** @type {{ db: DatabaseSync, write: ReturnType<typeof writing> } | undefined} */
  let open
  function opened() {
    const db = new DatabaseSync(there, { timeout })
    db.exec(pragmas)
    return { db, write: writing(db) }
  }
  /** @param {(readonly Step[])[]} jobs @returns {Outcome[]} */
  function outcomes(jobs) {
    try {
      open ??= opened()
      return open.write(jobs).map((done) => ({ done }))
    } catch (error) {
      if (jobs.length > 1) return jobs.flatMap((job) => outcomes([job])) // one may be the cause
      open?.db.close() // whatever happened to the file, the next one sees it as it is then
      open = undefined
      const { message, code, errcode } = /** @type {Error & { code?: string, errcode?: number }} */ (error)
      return [{ failure: { message, ...(code && { code }), ...(errcode !== undefined && { errcode }) } }]
    }
  }
  port.on('message', (jobs) => {
    if (jobs) return port.postMessage(outcomes(jobs))
    open?.db.close()
    port.close()
  })
}
if (workerData?.writes && parentPort) listen(workerData.writes, parentPort)
