import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../../src/simulate/random.ts'
import { disposable, recorded } from '../outside.ts'
import type { startWorker } from '../worker.ts'
import type { Ears } from './ears.ts'
import { isWrong } from './oracle.ts'
import { idOf, isFraud, type Row } from './rows.ts'

/** What is said of a file that is not what it was. */
const NAMED =
  /cannot (open|read|write|record|review)|damaged|malformed|not a database|holds less than it did|cut or overwritten|file is locked|no such (table|column)/
/** ms without any progress after which it is over: a digest collects for a minute, and goes on from where it was killed */
const PATIENCE = 90_000
const PAGE = 4096

type Damage = {
  /** holds the files, of which no worker is using any; it is spoilt, and not removed */
  folder: string
  random: Random
  /** what was handed out, and of it what has to be recorded and mailed */
  sent: ReadonlyMap<string, Row>
  owed: readonly Row[]
  /** the frauds that were mailed by then */
  mailed: ReadonlySet<string>
  start: () => ReturnType<typeof startWorker>
  /** the mails of the one that is started */
  ears: Ears
}

/**
 * Flips some bytes of the SQLite files and has a worker go on with them. Resolves with what became of it, and with what is
 * wrong: silence about a loss, or a wrong row. A bit within a value is beyond what SQLite can know: its row is let off.
 */
export async function flipped({
  folder,
  random,
  sent,
  owed,
  mailed,
  start,
  ears,
}: Damage): Promise<[string, string[]]> {
  const before = held(folder)
  const where = flip(folder, random)
  const after = held(folder)
  const changed = before && after && [...before.symmetricDifference(after)].join('\n')
  const spared = ({ trans_num }: Row) => changed?.includes(trans_num) ?? false
  // What a reader has passed, and what was noted, are values too: of these nobody can tell what comes.
  const hopeless = /^(position|note|sqlite_sequence) /m.test(changed ?? '')

  await using worker = start()
  const due = owed.filter((one) => !spared(one))
  const state = async () => {
    const rows = new Map(recorded(join(folder, 'fraud.db')).map((one) => [`${one.trans_num}@${one.event_time}`, one]))
    const { inMails } = await ears.listen()
    return {
      rows,
      missing: due.filter((one) => !rows.has(idOf(one))),
      unmailed: due.filter((one) => isFraud(one) && !mailed.has(one.trans_num) && !inMails.has(one.trans_num)),
      wrong: due.filter((one) => rows.has(idOf(one)) && isWrong(one, rows.get(idOf(one))!)),
    }
  }
  let now = await state()
  const born = Date.now()
  for (let [moved, seen] = [born, '']; worker.running() && Date.now() - moved < PATIENCE; now = await state()) {
    const left = `${now.missing.length} ${now.unmailed.length}`
    if (left === '0 0' && worker.text().includes('status page: ')) break
    if (left !== seen) moved = Date.now()
    seen = left
    if (NAMED.test(worker.text()) && Date.now() - born > 5000) break
    await sleep(200)
  }
  const [ended, text] = [!worker.running(), worker.text()]
  const named = NAMED.test(text)
  const last = text.trim().split('\n').at(-1)?.slice(0, 300)
  const wrong = now.wrong.map((one) => `${where}: ${idOf(one)} is wrong`)
  const nobodys = [...now.rows.keys()].filter((id) => !sent.has(id))
  if (!changed) wrong.push(...nobodys.map((id) => `${where}: nobody sent ${id}`))
  if (ended && !named) wrong.push(`${where}: ended without a name for it: ${last}`)
  if (!ended && !named && !hopeless && now.missing.length + now.unmailed.length > 0)
    wrong.push(`${where}: ${now.missing.length} rows and ${now.unmailed.length} mails are missing, and nothing says so`)
  const what = named ? 'refused by name' : changed ? 'within a value' : 'without effect'
  return [`flipped bytes: ${what}`, wrong]
}

/** Half of them where SQLite keeps its own books: at the start of a file, of a page, of a frame of a -wal. */
function flip(folder: string, random: Random): string {
  const files = ['topics.db', 'fraud.db', 'topics.db-wal', 'fraud.db-wal'].filter((file) => {
    const path = join(folder, file)
    return existsSync(path) && statSync(path).size > 0
  })
  const file = random.pick(files)
  const content = readFileSync(join(folder, file))
  const places = Array.from({ length: random.pick([1, 1, 3]) }, () => {
    const any = random.integer(0, content.length - 1)
    const size = file.endsWith('-wal') ? PAGE + 24 : PAGE
    const page = any - (any % size) + random.integer(0, 40)
    return random.pick([any, Math.min(page, content.length - 1), random.integer(0, 99)])
  })
  for (const at of places) content[at]! ^= 1 << random.integer(0, 7)
  writeFileSync(join(folder, file), content)
  return `${file} ${places}`
}

/** Every row of both, as text; none if SQLite itself cannot read them. Of copies: who looks last folds a -wal in. */
function held(folder: string): Set<string> | undefined {
  const copy = `${folder}.held`
  try {
    cpSync(folder, copy, { recursive: true })
    const rows = new Set<string>()
    for (const file of ['topics.db', 'fraud.db']) {
      using db = disposable(new DatabaseSync(join(copy, file)))
      if (Object.values(db.prepare('PRAGMA quick_check(1)').get()!)[0] !== 'ok') return undefined
      for (const { name } of db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all()) {
        const select = db.prepare(`SELECT * FROM "${name}"`)
        select.setReadBigInts(true)
        for (const row of select.iterate()) rows.add(`${name} ${Object.values(row).map(String).join(' ')}`)
      }
    }
    return rows
  } catch {
    return undefined
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

/** The databases of a folder whose worker is dead, and what belongs to them. */
export function copyOf(folder: string, to: string) {
  mkdirSync(to)
  for (const name of readdirSync(folder))
    if (/^(topics|fraud)\.db(-wal|\.mark)?$/.test(name)) cpSync(join(folder, name), join(to, name))
}
