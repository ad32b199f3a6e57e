import { startKafka } from '../kafka/broker.ts'
import { recorded } from '../outside.ts'
import { look, startPostgres } from '../postgres.ts'

export const ENGINES = ['sqlite', 'postgres', 'kafka'] as const
export type EngineName = (typeof ENGINES)[number]

/** Fresh, empty topics and rows: where the settings find them, what was recorded, and how they break down and come back. */
export async function openEngine(name: EngineName, folder: string) {
  if (name === 'sqlite')
    return {
      env: { TOPICS_URL: `sqlite:${folder}/topics.db`, DATABASE_URL: `sqlite:${folder}/fraud.db` },
      rows: async () => recorded(`${folder}/fraud.db`),
      break: undefined, // a file has no power of its own to lose
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
    /** All at once, as when the power fails; then they start again. */
    async break() {
      await Promise.all([postgres.kill(), kafka?.node(0).kill()])
      await postgres.start()
      await kafka?.node(0).start()
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}
