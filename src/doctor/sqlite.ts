import { realpathSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { BACKUP, type Finding, note, skipped, wrong } from './check.ts'

/** bytes up to which indexes are compared with their tables too: 4 s a GB, and 1 s without, from memory */
const THOROUGH = 500_000_000
const MOST = 5_000_000_000
/** ms that it may wait for a process that is writing */
const BUSY_TIMEOUT = 2000

/** What is wrong with a file that can be opened; nothing, when it is well. */
export function examine(path: string, setting: string): Finding[] {
  return [...pages(path, setting), ...rights(path)]
}

function pages(path: string, setting: string): Finding[] {
  const { size } = statSync(path)
  if (size > MOST) return [skipped(`${path}: ${Math.round(size / 1e9)} GB are too many to look at each page here`)]
  using db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT })
  const check = size > THOROUGH ? 'quick_check' : 'integrity_check'
  const rows = db.prepare(`PRAGMA ${check}(3)`).all()
  const found = rows.map((row) => String(Object.values(row)[0]))
  if (found[0] === 'ok') return []
  return [wrong(`${path} is damaged: ${found.join('; ')}`, BACKUP.replace('%', setting))]
}

/** It holds card numbers. */
function rights(path: string): Finding[] {
  if (process.platform === 'win32') return []
  let reach = 0o011 // of the group and of others, through every folder
  for (let at = dirname(realpathSync(path)); ; at = dirname(at)) {
    reach &= statSync(at).mode
    if (at === dirname(at)) break
  }
  const open = (statSync(path).mode & (reach << 2)) !== 0 // as far as they get, may they read?
  return open ? [note(`${path} can be read by other users, and holds card numbers`, `chmod 600 ${path}*`)] : []
}
