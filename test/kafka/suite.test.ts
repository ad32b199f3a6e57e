import { randomUUID } from 'node:crypto'
import { Admin } from '@platformatic/kafka'
import { pino } from 'pino'
import { afterAll, beforeAll } from 'vitest'
import { kafkaTopics } from '../../src/engines/kafka/topics.ts'
import { topicSuite } from '../topic/suite.ts'
import { brokersFromEnvironment, type Kafka, startKafka } from './broker.ts'

const MINUTE = 60_000
const given = brokersFromEnvironment()
let own: Kafka | undefined
beforeAll(async () => {
  if (!given) own = await startKafka()
}, 5 * MINUTE)
afterAll(() => own?.[Symbol.asyncDispose]())

const run = `test-${randomUUID().slice(0, 8)}`
let places = 0

topicSuite(
  'Kafka',
  async () => {
    const brokers = given ?? own!.brokers
    const prefix = `${run}-${places++}-`
    return {
      open: () =>
        kafkaTopics({
          brokers,
          prefix,
          partitions: 1, // the order that the suite wants is over all cards
          log: pino({ level: 'silent' }),
          worker: true,
        }),
      async [Symbol.asyncDispose]() {
        if (given) await tidy(brokers, prefix)
      },
    }
  },
  { seeds: 10, timeout: MINUTE },
)

/** Brokers that are somebody's keep nothing of it. */
async function tidy(bootstrapBrokers: string[], prefix: string) {
  const admin = new Admin({ clientId: 'test', bootstrapBrokers })
  try {
    const topics = (await admin.listTopics()).filter((name) => name.startsWith(prefix))
    await admin.deleteTopics({ topics })
    const groups = [...(await admin.listGroups()).keys()].filter((name) => name.startsWith(prefix))
    if (groups.length > 0) await admin.deleteGroups({ groups })
  } finally {
    await admin.close()
  }
}
