import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { archiveFolder } from './config/dsn.ts'
import { environment, readConfig } from './config/read.ts'
import type { Config } from './config/settings.ts'
import { logger } from './io/log.ts'
import type { Store } from './record/store.ts'
import type { Reviews } from './review/reviews.ts'
import type { Key } from './transaction.ts'
import { openStore, openTopics } from './wiring.ts'
import { openReviews } from './wiring-desk.ts'

/** Throws when a file is not there: a command makes none, and shows nothing of another one. */
function assertThere(place: Config['TOPICS_URL']) {
  if (place.engine === 'sqlite' && !existsSync(place.path))
    throw new Error(
      `there is no ${resolve(place.path)}: is this the folder, and are these the settings, that the worker is started with?`,
    )
}

/** Settings, a log, topics and database, opened beside the worker; closed when it is disposed of. */
export async function openBeside() {
  const config = readConfig(environment(), { working: false })
  const { TOPICS_URL: place } = config
  assertThere(place)
  const log = logger(config.LOG_LEVEL)
  const open = new AsyncDisposableStack()
  const topics = open.adopt(await openTopics(config, log, { worker: false }), (t) => t.close())
  const store = async () =>
    knowingArchive(
      config,
      open.adopt(await openStore(config, log), (s) => s.close()),
    )
  return { config, log, topics, store, open, [Symbol.asyncDispose]: () => open.disposeAsync() }
}

/** What was archived is there, and not to be there twice. */
async function knowingArchive({ DATABASE_URL: place }: Config, store: Store): Promise<Store> {
  const folder = archiveFolder(place)
  if (!existsSync(folder)) return store
  const { archivedAmong } = await import('./archive/archive.ts')
  const rest = async <R extends Key>(rows: readonly R[]) => {
    const there = await archivedAmong(folder, rows)
    return rows.filter((row) => !there.has(row))
  }
  return {
    ...store,
    missing: async (rows) => rest(await store.missing(rows)),
    insert: async (rows) => store.insert(await rest(rows)),
  }
}

/** Settings, and what is said of the payments in the database; its tables are brought up to date first. */
export async function openReviewed() {
  const config = readConfig(environment(), { working: false })
  const reviews = await reviewsOf(config)
  return { config, reviews, [Symbol.asyncDispose]: () => reviews.close() }
}
export async function reviewsOf(config: Config): Promise<Reviews> {
  assertThere(config.DATABASE_URL)
  const store = await openStore(config, logger(config.LOG_LEVEL))
  await store.missing([]).finally(() => store.close())
  return openReviews(config)
}

/** Where the settings keep topics and rows. */
export function placesOf() {
  const { TOPICS_URL: topics, DATABASE_URL: database } = readConfig(environment(), { working: false })
  return { topics, database }
}
