import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import { afterAll, beforeAll } from 'vitest'
import { kafkaTopics } from '../../src/topic/kafka.ts'
import { topicSuite } from '../topic/suite.ts'
import { brokersFromEnvironment, startKafka } from './broker.ts'

const stack = new AsyncDisposableStack()
let brokers: string[]
beforeAll(async () => {
  brokers = brokersFromEnvironment() ?? stack.use(await startKafka()).brokers
}, 300_000)
afterAll(() => stack.disposeAsync())

// One partition: the suite wants one order. What more of them do is in topics.test.ts.
topicSuite(
  'Kafka',
  async () => {
    const prefix = `suite-${randomUUID()}-`
    return {
      open: () => kafkaTopics({ brokers, prefix, partitions: 1, log: pino({ level: 'silent' }), worker: true }),
      async [Symbol.asyncDispose]() {},
    }
  },
  { seeds: 10, timeout: 60_000 },
)
