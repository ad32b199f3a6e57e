import { Admin, findErrorBy } from '@platformatic/kafka'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { kafkaTopics } from '../../src/engines/kafka/topics.ts'
import type { Topics } from '../../src/topic/topic.ts'
import type { Prediction, Transaction } from '../../src/transaction.ts'
import { held, insist, listeningLog, prediction, transaction, waitFor } from '../rows.ts'
import { type Kafka, startKafka } from './broker.ts'
import { request, startRelay } from './relay.ts'

// Brokers of 4.3 and 4.4 call a transaction over without its mark in a partition that has no leader just then: docs/kafka.md.

const MINUTE = 60_000
vi.setConfig({ testTimeout: 3 * MINUTE })

type Relay = Awaited<ReturnType<typeof startRelay>>
const relays: Relay[] = []
let three: Kafka
beforeAll(async () => {
  three = await startKafka({
    nodes: 3,
    async properties({ client, broker }) {
      const relay = await startRelay(client)
      relays.push(relay)
      return { 'advertised.listeners': `CLIENT://127.0.0.1:${relay.port},BROKER://127.0.0.1:${broker}` }
    },
  })
}, 5 * MINUTE)
afterAll(async () => {
  for (const relay of relays) await relay[Symbol.asyncDispose]()
  await three[Symbol.asyncDispose]()
})
/** At whatever node it comes. */
function rule(...[how]: Parameters<Relay['rule']>) {
  const rules = relays.map((relay) => relay.rule(how))
  return {
    [Symbol.dispose]() {
      for (const made of rules) made[Symbol.dispose]()
    },
  }
}

let runs = 0
/** Topics of one partition each, which only one node has; those of transactions and predictions are not on the same one. */
async function open() {
  const admin = new Admin({ clientId: 'test', bootstrapBrokers: three.brokers })
  onTestFinished(() => admin.close())
  for (;;) {
    const prefix = `run${runs++}-`
    const { log } = listeningLog()
    const brokers = relays.map(({ port }) => `127.0.0.1:${port}`)
    const topics = await kafkaTopics({ brokers, prefix, log, worker: true, partitions: 1, replication: 1 })
    onTestFinished(() => topics.close())
    const leader = async (topic: string) => {
      const { topics: known } = await admin.metadata({ topics: [`${prefix}${topic}`], forceUpdate: true })
      return known.get(`${prefix}${topic}`)!.partitions[0]!.leader
    }
    const leaders = [await leader('transactions'), await leader('predictions')]
    if (leaders[0] === leaders[1]) continue
    /** Ends the node that has the topic; resolves when the others know that nobody leads there. */
    async function lead(topic: 'transactions' | 'predictions') {
      const node = three.node(leaders[topic === 'transactions' ? 0 : 1]!)
      await node.kill()
      const nobody = (error: Error) => findErrorBy(error, 'apiId', 'LEADER_NOT_AVAILABLE') !== null
      await waitFor('nobody to lead', () => leader(topic).then(() => false, nobody))
      return node
    }
    return { prefix, topics, lead }
  }
}
const numbers = async (topics: Topics, topic: 'transactions' | 'predictions') =>
  ((await held(topics, topic)) as (Transaction | Prediction)[]).map(({ trans_num }) => trans_num.slice(6)).join()

test.for(['it is committed', 'nobody knows whether it was heard'])(
  'what nobody leads when %s is there once, when somebody does',
  async (when) => {
    const { prefix, topics, lead } = await open()
    await insist(topics, { transactions: [transaction(0)] }) // a node may have come back just now
    const [reached, gone] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const cut = when !== 'it is committed'
    {
      using _ = rule((frame, client) => {
        if (!request('EndTxn', prefix)(frame)) return undefined
        reached.resolve()
        return gone.promise.then(() => void (cut && client.destroy()))
      })
      const appended = insist(topics, { transactions: [transaction(1)] })
      await reached.promise
      const node = await lead('transactions')
      gone.resolve()
      if (cut) await new Promise((resolve) => setTimeout(resolve, 3000)) // until it has been asked again in vain
      _[Symbol.dispose]()
      await node.start()
      await appended
    }
    expect(await numbers(topics, 'transactions')).toBe('0,1')
    await topics.append({ transactions: [transaction(2)] })
    expect(await numbers(topics, 'transactions')).toBe('0,1,2')
  },
)

test('what nobody leads when it is given up is not committed with what is written next', async () => {
  const { prefix, topics, lead } = await open()
  await insist(topics, { transactions: [transaction(0)], predictions: [prediction(0)] })
  const both = { transactions: [transaction(1)], predictions: [prediction(1)] }
  const [reached, written] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const gone = Promise.withResolvers<void>()
  using losing = rule((frame, client) => {
    if (request('Produce', `${prefix}predictions`)(frame)) return () => written.resolve()
    if (!request('Produce', `${prefix}transactions`)(frame)) return undefined
    reached.resolve()
    return gone.promise.then(() => void client.destroy())
  })
  const failed = topics.append(both).then(
    () => false,
    () => true,
  )
  await Promise.all([reached.promise, written.promise])
  const node = await lead('predictions')
  gone.resolve()
  expect(await failed).toBe(true)
  losing[Symbol.dispose]()
  await node.start()
  await insist(topics, both)
  expect(await numbers(topics, 'predictions')).toBe('0,1')
  expect(await numbers(topics, 'transactions')).toBe('0,1')
})
