import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import type { Logger } from 'pino'
import { DamagedFile, FileFault, reason } from './errors.ts'
import { makeFolder, savedAs } from './sqlite.ts'

/** ms between looks at an open file: what happens to it is known within that, and before each write */
const LOOK = 500
/** bytes up to which every page is looked at when a worker starts: 0.2 s where they are in memory */
const CHECKED_AT_START = 200_000_000
/** of a SQLite file (https://sqlite.org/fileformat.html#the_database_header) */
const HEADER = 100
const MAGIC = 'SQLite format 3\0'

/** How much a file has ever held, by name. Figures that only grow. */
export type Mark = Record<string, number>

/** Throws what `PRAGMA quick_check` finds, where that is done soon. A wrong verdict is no damage. */
export function assertWhole(db: DatabaseSync, path: string) {
  if (statSync(path).size > CHECKED_AT_START) return
  const found = db
    .prepare('PRAGMA quick_check(1)')
    .all()
    .map(({ quick_check }) => String(quick_check))
  if (found[0] !== 'ok' && !found[0]?.startsWith('CHECK constraint'))
    throw new DamagedFile(`${path} is damaged (${found[0]}): stop what uses it, and restore a backup`)
}

/**
 * Compares a file that was just opened with the mark beside it, which its worker leaves: what is missing was in a `-wal` that
 * is gone or damaged, or the file is another one. Throws then.
 */
export function assertMark(path: string, found: Mark) {
  const file = `${realpathSync(path)}.mark`
  let noted: Mark = {}
  try {
    noted = JSON.parse(readFileSync(file, 'utf8')) as Mark
  } catch {} // none yet, or cut off when the power failed
  for (const [what, count] of Object.entries(noted))
    if (count > (found[what] ?? 0))
      throw new FileFault(
        `${path} holds less than it did (${what}: ${found[what] ?? 0} of ${count}): its -wal was deleted or damaged, or it is an older copy. Put the right files back, or delete ${file} to go on with what is there`,
      )
}

/**
 * Looks after a file that this process has open: whether it is still the one that a later start will find, with all that was
 * committed. `locked`: a file whose lock keeps other workers away. Its connection is `db`, and is closed before this is.
 */
export function guardFile(db: DatabaseSync, path: string, current: () => Mark, log?: Logger, locked: string[] = []) {
  const real = realpathSync(path)
  // Closed only after the connection: closing it gives up every lock that this process has on the file.
  const fd = openSync(real, 'r')
  const files = new Set([path, real, `${real}-wal`, `${real}-shm`, ...locked])
  const parts = [...files].map((file) => ({ file, id: idOf(file) }))
  const unlike = headerOf(fd)
  const done = new Map<string, string | undefined>() // what was done about a file that was deleted, and why it failed
  let told: string | undefined
  let overwritten = false
  let noted = ''

  const once = (file: string, work: () => void) => {
    if (!done.has(file)) done.set(file, attempt(work))
    return done.get(file)
  }
  function gone(file: string): string {
    if (locked.includes(file)) return `${file} was deleted: start the worker again, so that no second one comes in`
    if (file !== path && file !== real) {
      const failed = once(file, () => db.exec('PRAGMA wal_checkpoint(TRUNCATE)'))
      return `${file} was deleted while it was open; ${failed ?? `what it held is in ${path} now: start the worker again`}`
    }
    if (fstatSync(fd).nlink > 0) return `${path} was moved away while it was open: move it back, and its -wal and -shm`
    const failed = once(file, () => {
      makeFolder(dirname(real))
      if (!existsSync(savedAs(real))) db.prepare('VACUUM INTO ?').run(savedAs(real))
    })
    return `${path} was deleted while it was open; ${failed ?? `all that it held is in ${savedAs(real)}: stop the worker, move that to ${path}, start it`}`
  }
  function trouble(): string | undefined {
    const moved = parts.find(({ file, id }) => idOf(file) !== id)
    if (moved && idOf(moved.file) === undefined) return gone(moved.file)
    if (moved)
      return `${moved.file} was replaced while it was open: stop the worker, put the right file there, start it`
    overwritten ||= unlike()
    if (!overwritten) return undefined
    return `${path} was emptied, cut or overwritten while it was open: stop the worker, restore a backup, start it`
  }
  /** Throws when the file is not what it was. One that is moved back is. */
  function check() {
    const found = trouble()
    if (found && found !== told) log?.error(found)
    if (!found && told) log?.info(`${path} is back`)
    told = found
    if (found) throw new Error(found)
  }
  function note() {
    const text = JSON.stringify(current())
    if (text === noted) return
    writeFileSync(`${real}.mark.new`, text)
    renameSync(`${real}.mark.new`, `${real}.mark`)
    noted = text
  }
  const checkAndNote = () => {
    check()
    note()
  }
  attempt(note)
  const timer = setInterval(() => attempt(checkAndNote), LOOK).unref()
  return {
    check,
    /** With the connection, which it closes. */
    close() {
      if (!db.isOpen) return
      clearInterval(timer)
      attempt(checkAndNote)
      db.close()
      closeSync(fd)
    },
  }
}

/** Tells whether the header of an open file is not that of the database that it was. */
function headerOf(fd: number): () => boolean {
  const header = Buffer.alloc(HEADER)
  let [counter, short, largest] = [0, 0, fstatSync(fd).size]
  return () => {
    const read = readSync(fd, header, 0, HEADER, 0)
    const changes = header.readUInt32BE(24)
    if (read < HEADER || header.toString('latin1', 0, MAGIC.length) !== MAGIC || changes < counter) return true
    counter = changes
    const pages = header.readUInt32BE(28)
    const size = header.readUInt16BE(16)
    const length = fstatSync(fd).size
    largest = Math.max(largest, length)
    // One that never was longer is short of what a checkpoint could not write, on a full disk: its -wal has it.
    const cut = length < largest && length < pages * (size === 1 ? 65_536 : size)
    short = cut ? short + 1 : 0 // another process may be in the middle of a checkpoint
    return short > 3
  }
}

/** Why it failed, or undefined. */
function attempt(work: () => void): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    return reason(error)
  }
}

/** Which file has the name; undefined: none has. */
function idOf(file: string): string | undefined {
  const found = statSync(file, { bigint: true, throwIfNoEntry: false })
  return found && `${found.dev}:${found.ino}`
}
