import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { isBusy, makeFolder } from '../io/sqlite.ts'
import { grouped, plural } from '../io/text.ts'
import { utc } from '../io/time.ts'
import type { Aged, Ageing, Which } from '../review/reviews.ts'
import { identity } from '../transaction.ts'
import { type ArchiveFile, assertUnchanged, openArchive, rewrite } from './parquet.ts'

/** rows that are written at a time, and so lie in memory; and that are removed at a time, while who records waits */
const [WRITTEN, REMOVED] = [20_000, 200]
/** ms that others have the database between two removals, at most; as long as one took, else */
const LONGEST_PAUSE = 200

export type ArchiveOptions = {
  reviews: Ageing
  folder: string
  /** What happened and was judged before then, in ms since 1970, goes. */
  before: number
  stop?: AbortSignal
  written?: number
}

const yearOf = (at: number) => utc(at, 4)
const fileOf = (folder: string, year: string) => join(folder, `predictions-${year}.parquet`)

/**
 * Moves old rows into a file for each year, step by step: each is whole and on disk in a file before any row of it is removed,
 * and a row is removed only while the database has it as it is read back from there. Killed at any moment, a row is in the
 * database, or in the file, or in both, as the next run finds out. Resolves with lines for a person.
 */
export async function archive({ reviews, folder, before, stop, written = WRITTEN }: ArchiveOptions) {
  makeFolder(folder)
  using _ = held(folder)
  let [moved, after] = [0, undefined as Which | undefined]
  const files = new Map<string, number>()
  while (!stop?.aborted) {
    const found = await reviews.aged(before, after, written)
    const [first] = found
    if (!first) break
    const rows = found.filter((row) => yearOf(row.event_time) === yearOf(first.event_time))
    after = rows.at(-1)!
    const path = fileOf(folder, yearOf(first.event_time))
    const removed = await step(reviews, path, rows)
    moved += removed
    files.set(path, (files.get(path) ?? 0) + removed)
  }
  return [
    ...[...files].map(([path, count]) => `${path}: ${grouped(count)} more ${count === 1 ? 'row' : 'rows'}`),
    `${plural(moved, 'row')} from before ${utc(before)} UTC moved`,
  ]
}

/** Of one year, in the order of time. Resolves with how many rows it has removed. */
async function step(reviews: Ageing, path: string, rows: readonly Aged[]): Promise<number> {
  let file = await openArchive(path)
  const [first, last] = [rows[0]!.event_time, rows.at(-1)!.event_time]
  const meant = new Set(rows.map(identity))
  let removed = 0
  const done = new Set<string>()
  const other = new Set<string>()
  // What an earlier run has put there before it was killed, or what came back since.
  const overlapping = (file?.groups ?? []).flatMap((group, i) => (group.last < first || group.first > last ? [] : [i]))
  if (overlapping.length > 0) await assertUnchanged(file!)
  for (const group of overlapping) {
    const both = (await file!.rows(group)).filter((row) => meant.has(identity(row)))
    for (const [row, became] of await forget(reviews, both)) {
      if (became === 'done') removed++
      ;(became === 'other' ? other : done).add(identity(row))
    }
  }
  if (other.size > 0) file = await without(file!, overlapping[0]!, other)
  const fresh = rows.filter((row) => !done.has(identity(row)))
  if (fresh.length === 0) return removed
  await rewrite(path, file, file?.groups.length ?? 0, one(fresh))
  const now = (await openArchive(path))!
  const left = new Set<string>()
  for (const [row, became] of await forget(reviews, await now.rows(now.groups.length - 1)))
    if (became === 'done') removed++
    else left.add(identity(row)) // somebody has said something of it meanwhile: it stays, and goes another day
  if (left.size > 0) await without(now, now.groups.length - 1, left)
  return removed
}
async function* one(rows: Aged[]) {
  yield rows
}

async function forget(reviews: Ageing, rows: readonly Aged[]) {
  const all: [Aged, string][] = []
  for (let i = 0; i < rows.length; i += REMOVED) {
    const start = performance.now()
    const some = rows.slice(i, i + REMOVED)
    const became = await reviews.forget(some)
    for (const [n, row] of some.entries()) all.push([row, became[n]!])
    if (i + REMOVED < rows.length) await sleep(Math.min(performance.now() - start, LONGEST_PAUSE))
  }
  return all
}

/** The file without these rows, which are in none of the groups before `from`. */
async function without(file: ArchiveFile, from: number, names: ReadonlySet<string>) {
  async function* groups() {
    for (let group = from; group < file.groups.length; group++) {
      const rows = (await file.rows(group)).filter((row) => !names.has(identity(row)))
      if (rows.length > 0) yield rows
    }
  }
  await rewrite(file.path, file, from, groups())
  return openArchive(file.path)
}

/** Which of the rows are in the files there. */
export async function archivedAmong<R extends Which>(folder: string, rows: readonly R[]): Promise<Set<R>> {
  const found = new Set<R>()
  const names = rows.length > 0 ? filesIn(folder) : []
  for (const [year, some] of Map.groupBy(rows, (row) => yearOf(row.event_time)))
    for (const name of names.filter((name) => name.startsWith(`predictions-${year}`))) {
      const file = (await openArchive(join(folder, name)))!
      for (const [i, { first, last }] of file.groups.entries()) {
        const wanted = some.filter(({ event_time }) => event_time >= first && event_time <= last)
        if (wanted.length === 0) continue
        const there = new Set((await file.names(i)).map(identity))
        for (const row of wanted) if (there.has(identity(row))) found.add(row)
      }
    }
  return found
}
const filesIn = (folder: string) => {
  try {
    return readdirSync(folder).filter((name) => name.endsWith('.parquet'))
  } catch {
    return [] // none was ever made
  }
}

/** Puts the rows of a file into the database, with what was said of them; what is there stays. The file stays, too. */
export async function putBack({ reviews, folder, path, stop }: Omit<ArchiveOptions, 'before'> & { path: string }) {
  makeFolder(folder)
  using _ = held(folder)
  const file = await openArchive(path)
  if (!file) throw new Error(`there is no ${path}`)
  await assertUnchanged(file)
  let [rows, put] = [0, 0]
  for (let group = 0; group < file.groups.length && !stop?.aborted; group++) {
    const all = await file.rows(group)
    for (let i = 0; i < all.length && !stop?.aborted; i += REMOVED) {
      const some = all.slice(i, i + REMOVED)
      put += await reviews.putBack(some)
      rows += some.length
    }
  }
  const there = rows - put > 0 ? `, ${grouped(rows - put)} were there already` : ''
  return `${path}: ${plural(put, 'row')} put back${there}`
}

/** One at a time. */
function held(folder: string): Disposable {
  const lock = new DatabaseSync(join(folder, 'lock'))
  try {
    lock.exec('BEGIN EXCLUSIVE')
    return lock
  } catch (cause) {
    lock.close()
    throw isBusy(cause) ? new Error(`${folder} is being written by another process: try again later`) : cause
  }
}
