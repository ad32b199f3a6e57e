import { existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { shownPlace } from '../config/dsn.ts'
import { flush } from '../io/files.ts'
import { isBusy, makeFolder, savedAs } from '../io/sqlite.ts'
import { utc } from '../io/time.ts'
import { hold } from '../topic/sqlite.ts'
import { check, copiesOf, type Places, partOf, room } from './backup.ts'
import { copiesIn } from './rotate.ts'

/** What a worker has beside its file; a lock is left, as it is held meanwhile. */
const BESIDE = ['', '-wal', '-shm', '.mark']

/**
 * Puts the copies of a backup where the settings have their files. Both are there, whole and on disk, before any file gets
 * its name. What was there is refused, or with `replace` moved into a folder beside it; nothing is deleted. Refuses while
 * anything has a file open. Resolves with lines for a person.
 */
export async function restore(
  folder: string,
  places: Places,
  { replace = false, at = Date.now() } = {},
): Promise<string[]> {
  const copies = copiesOf(folder, places)
  for (const { target: copy } of copies) if (!existsSync(copy)) throw new Error(missing(folder, copy))
  for (const { path } of copies)
    if (existsSync(savedAs(path))) throw new Error(`${savedAs(path)} is there: move it away first, or to ${path}`)
  const there = copies.map(({ path }) => path).filter((path) => (statSync(path, MAYBE)?.size ?? 0) > 0)
  if (there.length > 0 && !replace)
    throw new Error(
      `${there.join(' and ')}: is there already; with --replace it is moved away, and the copy takes its place`,
    )
  using _ = held(places)
  for (const path of there) refuseOpen(path)
  const lines: string[] = []
  try {
    for (const { path, target: copy, told } of copies) {
      makeFolder(dirname(path))
      await room(dirname(path), [copy])
      await copyFile(copy, partOf(path))
      lines.push(`${path}: ${check(partOf(path), told)}`)
      await flush(partOf(path))
    }
    // Cut off from here on, the next start makes no new file: it finds this one, and says to move it there.
    for (const { path } of copies) renameSync(partOf(path), savedAs(path))
    for (const { path } of copies) lines.push(...moveAway(path, at))
    for (const { path } of copies) renameSync(savedAs(path), path)
    for (const { path } of copies) await flush(dirname(path))
  } finally {
    for (const { path } of copies) rmSync(partOf(path), { force: true })
  }
  for (const [what, place] of Object.entries(places))
    if (place.engine !== 'sqlite')
      lines.push(`the ${what} in ${shownPlace(place)} stay as they are: pg_restore puts them back`)
  return lines
}

const MAYBE = { throwIfNoEntry: false } as const

function missing(folder: string, copy: string): string {
  if (!existsSync(folder)) return `there is no folder ${folder}`
  const [newest] = copiesIn(folder)
  const inside = newest ? `: it holds several backups, name one, the newest is ${join(folder, newest)}` : ''
  return `there is no ${basename(copy)} in ${folder}${inside}`
}

/** No worker begins meanwhile. */
function held(places: Places): Disposable {
  if (places.topics.engine !== 'sqlite') return { [Symbol.dispose]() {} }
  makeFolder(dirname(places.topics.path))
  return hold(places.topics.path)
}

/** Whoever has a file open in WAL mode shares a lock on it for as long. One that is damaged nobody can have open for long. */
function refuseOpen(path: string) {
  const db = new DatabaseSync(path)
  try {
    db.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; ROLLBACK')
  } catch (error) {
    if (isBusy(error)) throw new Error(`something has ${path} open: stop the worker, and what else reads it, first`)
  } finally {
    db.close()
  }
}

function moveAway(path: string, at: number): string[] {
  const old = BESIDE.map((end) => `${path}${end}`).filter((file) => existsSync(file))
  if ((statSync(path, MAYBE)?.size ?? 0) === 0 && old.length < 2) return [] // nothing but what holding it has made
  const away = join(dirname(path), `replaced-${utc(at).replace(' ', 'T').replaceAll(':', '')}Z`)
  mkdirSync(away, { recursive: true })
  for (const file of old) renameSync(file, join(away, basename(file)))
  return [`${path} as it was is in ${away} now`]
}
