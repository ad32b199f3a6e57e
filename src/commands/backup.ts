import { existsSync, rmSync, statSync } from 'node:fs'
import { rename, statfs } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { archiveFolder, type KafkaCluster, type Place, shownPlace } from '../config/dsn.ts'
import { flush } from '../io/files.ts'
import { makeFolder } from '../io/sqlite.ts'
import { grouped } from '../io/text.ts'
import { utc } from '../io/time.ts'

/** ms that the copy may wait for a process that is opening the file */
const BUSY_TIMEOUT = 5000
const MB = 1_000_000

export type Places = { topics: Place | KafkaCluster; database: Place }

/**
 * Copies the SQLite files while the worker writes, the topics first: what a position had passed then is in the database
 * that is copied afterwards, and what is there beyond it is recorded again, which changes nothing. Each copy is one
 * moment (VACUUM INTO reads in one transaction, which no writer can make begin anew, and holds up none), keeps
 * versions, offsets and positions; both get their names when both are on disk and whole. Resolves with lines for a person.
 */
export async function backup(folder: string, places: Places): Promise<string[]> {
  const { topics, database } = places
  const copies = copiesOf(folder, places)
  const files = filesOf(places)
  for (const { path, target } of copies) {
    if (!existsSync(path))
      throw new Error(`there is no ${path} to copy: is this the folder that the worker is started in?`)
    if (existsSync(target)) throw new Error(`${target} is there already: name another folder, e.g. with the date`)
  }
  const lines = topics.engine === 'sqlite' ? [] : [elsewhere(topics, database)]
  if (files.length > 0) await room(folder, files)
  try {
    for (const { path, target, told } of copies) lines.push(await copy(path, target, told))
    for (const { target } of copies) await rename(partOf(target), target)
    if (files.length > 0) await flush(folder)
  } finally {
    for (const { target } of copies) rmSync(partOf(target), { force: true })
  }
  if (database.engine !== 'sqlite' && !same(topics, database))
    lines.push(
      `the predictions are in ${shownPlace(database)}: copy them now, after the topics: pg_dump --table=predictions --table=reviews --table=exports --table=baselines`,
    )
  if (existsSync(archiveFolder(database)))
    lines.push(
      `${archiveFolder(database)} is not in it: copy it too, of its files only those of this year and the last change`,
    )
  if (files.length > 0) lines.push(`to put it back: stop the worker, npm run restore -- ${folder}, start`)
  return lines
}

/** The files of the settings, the topics first: where each copy is, and what is said of it. */
export function copiesOf(folder: string, { topics, database }: Places) {
  const copies = [
    { place: topics, told: ofTopics },
    { place: database, told: ofDatabase },
  ].flatMap(({ place, told }) =>
    place.engine === 'sqlite' ? [{ path: place.path, target: join(folder, basename(place.path)), told }] : [],
  )
  if (copies.length === 2 && copies[0]!.target === copies[1]!.target)
    throw new Error(`both files are named ${basename(copies[0]!.path)}: they cannot be in one folder`)
  return copies
}
export const filesOf = ({ topics, database }: Places) =>
  [topics, database].flatMap((place) => (place.engine === 'sqlite' ? place.path : []))

export const partOf = (target: string) => `${target}.part`

const same = (one: Place | KafkaCluster, other: Place) => shownPlace(one) === shownPlace(other)

function elsewhere(topics: Place | KafkaCluster, database: Place): string {
  if (topics.engine === 'kafka')
    return `the topics are in ${shownPlace(topics)}: they are not copied, replicas keep them (KAFKA_REPLICATION)`
  if (same(topics, database)) return `topics and predictions are in ${shownPlace(topics)}: one pg_dump copies both`
  return `the topics are in ${shownPlace(topics)}: copy them before the predictions: pg_dump --schema=topics`
}

/** Is there room for all of it? Or nothing is begun. */
export async function room(folder: string, files: readonly string[]) {
  makeFolder(folder)
  const size = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0
  const needed = files.reduce((sum, path) => sum + size(path) + size(`${path}-wal`), 0)
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize < needed)
    throw new Error(
      `${folder} has ${megabytes(bavail * bsize)} free, and the copy may need ${megabytes(needed)}: make room, or name a folder on another disk`,
    )
}

/** A copy that is whole and on disk, under the name of a part; `told` says what is in it. */
async function copy(path: string, target: string, told: (db: DatabaseSync) => string): Promise<string> {
  const part = partOf(target)
  rmSync(part, { force: true }) // of a backup that was killed
  try {
    using from = new DatabaseSync(path, { timeout: BUSY_TIMEOUT })
    from.prepare('VACUUM INTO ?').run(part)
    const content = check(part, told)
    await flush(part)
    return `${target}: ${megabytes(statSync(part).size)}, ${content}`
  } catch (error) {
    throw new Error(`cannot copy ${path}`, { cause: error })
  }
}

export function check(path: string, told: (db: DatabaseSync) => string): string {
  using copied = new DatabaseSync(path, { timeout: BUSY_TIMEOUT })
  const found = Object.values(copied.prepare('PRAGMA quick_check(1)').get()!)[0]
  if (found !== 'ok') throw new Error(`the copy is not whole: ${found}`)
  return told(copied)
}

function ofTopics(db: DatabaseSync): string {
  const rows = db.prepare('SELECT name, seq FROM sqlite_sequence ORDER BY rowid').all()
  return rows.length > 0 ? rows.map(({ name, seq }) => `${name} up to ${seq}`).join(', ') : 'no records yet'
}
function ofDatabase(db: DatabaseSync): string {
  const { n, last } = db.prepare('SELECT count(*) AS n, max(predicted_at) AS last FROM predictions').get()!
  const newest = last === null ? '' : `, the newest of ${utc(Number(last))} UTC`
  return `${grouped(Number(n))} predictions${newest}`
}

const megabytes = (bytes: number) => `${(bytes / MB).toFixed(1)} MB`
