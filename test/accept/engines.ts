import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { startKafka } from '../kafka/broker.ts'
import { disposable, recorded } from '../outside.ts'
import { look, startPostgres } from '../postgres.ts'

export const ENGINES = ['sqlite', 'postgres', 'kafka'] as const
type Rows = Record<string, unknown>[]
type Outages = Record<string, (ms: number) => Promise<void>>
export type EngineName = (typeof ENGINES)[number]

/** Fresh, empty topics and rows: where the settings find them, what was recorded, and how they break down and come back. */
export async function openEngine(name: EngineName, folder: string) {
  if (name === 'sqlite')
    return {
      env: { TOPICS_URL: `sqlite:${folder}/topics.db`, DATABASE_URL: `sqlite:${folder}/fraud.db` },
      rows: async () => recorded(`${folder}/fraud.db`),
      ask: async (sql: string): Promise<Rows> => {
        using db = disposable(new DatabaseSync(`${folder}/fraud.db`, { readOnly: true }))
        return db.prepare(sql).all()
      },
      break: undefined, // a file has no power of its own to lose
      outages: Object.fromEntries(
        ['topics.db', 'fraud.db'].map((file) => [`${file} is locked`, (ms: number) => lock(`${folder}/${file}`, ms)]),
      ),
      [Symbol.asyncDispose]: async () => {},
    }
  await using opening = new AsyncDisposableStack()
  const postgres = opening.use(await startPostgres())
  const kafka = name === 'kafka' ? opening.use(await startKafka()) : undefined
  const store = await postgres.database()
  const topics = kafka ? `kafka://${kafka.brokers.join()}` : (await postgres.database()).href
  const opened = opening.move()
  return {
    env: { TOPICS_URL: topics, DATABASE_URL: store.href },
    rows: () => look(store, 'SELECT * FROM predictions').catch(() => []),
    ask: (sql: string): Promise<Rows> => look(store, sql),
    /** All at once, as when the power fails; then they start again. */
    async break() {
      await Promise.all([postgres.kill(), kafka?.node(0).kill()])
      await postgres.start()
      await kafka?.node(0).start()
    },
    /** One at a time, for so many ms. */
    outages: {
      'PostgreSQL loses power': (ms) =>
        without(
          () => postgres.kill(),
          () => postgres.start(),
          ms,
        ),
      'PostgreSQL stands still': (ms) => without(postgres.freeze, postgres.thaw, ms),
      ...(kafka && {
        'Kafka loses power': (ms: number) =>
          without(
            () => kafka.node(0).kill(),
            () => kafka.node(0).start(),
            ms,
          ),
        'Kafka stands still': (ms: number) => without(kafka.node(0).freeze, kafka.node(0).thaw, ms),
      }),
    } as Outages,
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

async function without(go: () => unknown, come: () => unknown, ms: number) {
  await go()
  await sleep(ms)
  await come()
}

/** Another program writes, and takes its time. */
async function lock(path: string, ms: number) {
  using db = disposable(new DatabaseSync(path, { timeout: 2000 }))
  try {
    db.exec('BEGIN IMMEDIATE')
  } catch {
    return // there is no file yet, or no moment in which nobody writes
  }
  await sleep(ms)
  db.exec('ROLLBACK')
}
