import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { type KafkaTopicsOptions, kafkaTopics } from '../../src/topic/kafka.ts'
import { type Reader, TakenOver, type Topics } from '../../src/topic/topic.ts'
import type { Prediction, Transaction } from '../../src/transaction.ts'
import { held, listeningLog, prediction, transaction } from '../rows.ts'
import { request, startProxied, unknownMember } from './relay.ts'

// Who has a partition, or a turn, is proven where it is used: docs/kafka.md.

const MINUTE = 60_000
vi.setConfig({ testTimeout: 3 * MINUTE })

let cluster: Awaited<ReturnType<typeof startProxied>>
beforeAll(async () => {
  cluster = await startProxied()
}, 5 * MINUTE)
afterAll(() => cluster[Symbol.asyncDispose]())

let runs = 0
/** Topics of these names, by way of the relay unless told otherwise; a session so long that nobody is given up. */
function place() {
  const prefix = `run${runs++}-`
  const { log } = listeningLog()
  return {
    prefix,
    group: `${prefix}client-predict-score`,
    async open(options: Partial<KafkaTopicsOptions> = {}): Promise<Topics> {
      const topics = await kafkaTopics({
        brokers: cluster.brokers,
        prefix,
        log,
        worker: true,
        session: 30_000,
        ...options,
      })
      onTestFinished(() => topics.close())
      return topics
    },
  }
}

const numbers = (records: readonly { trans_num: string }[]) =>
  records.map(({ trans_num }) => Number(trans_num.slice('trans-'.length))).sort((a, b) => a - b)
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
const transactions = (from: number, to: number) => range(from, to).map((n) => transaction(n))
const soon = (ms = MINUTE) => AbortSignal.timeout(ms)
const predicted = (records: readonly Transaction[]) => records.map((t): Prediction => ({ ...prediction(0), ...t }))
const predictions = async (topics: Topics) => numbers((await held(topics, 'predictions')) as Prediction[])
/** Everything that waits, in one batch. */
async function whole<T>(reader: Reader<T>, count: number) {
  for (;;) {
    const batch = await reader.read(count, soon())
    if (batch.records.length === count) return batch
    reader.rewind()
  }
}

describe('a commit that is under way when a partition of it goes to another process', () => {
  test.for(['InitProducerId', 'Produce', 'AddOffsetsToTxn', 'TxnOffsetCommit'] as const)(
    'is refused: held before its %s',
    async (api) => {
      // It is left to chance who gets the lowest partition: then the writer's name is taken anew, and that refuses it too.
      for (let byName = true; byName; ) {
        const { group, open } = place()
        const first = await open({ partitions: 6 })
        await first.append({ transactions: transactions(0, 60) })
        const batch = await whole(first.reader('transactions', 'score'), 60)
        using holding = cluster.relay.hold(request(api, group))
        const committed = batch.commit(60, { predictions: predicted(batch.records) }).then(
          () => 'done',
          (error) => error,
        )
        await holding.first
        const second = await open({ brokers: cluster.beside })
        const reader = second.reader('transactions', 'score')
        const theirs = await reader.read(60, soon())
        await theirs.commit(theirs.records.length, { predictions: predicted(theirs.records) })
        holding.release()
        expect(await committed).toBeInstanceOf(TakenOver)
        expect(await predictions(second)).toEqual(numbers(theirs.records))
        for await (const { id, record } of second.scan('transactions'))
          if (id.startsWith('0-')) byName = theirs.records.some(({ trans_num }) => trans_num === record.trans_num)
        await Promise.all([first.close(), second.close()])
      }
    },
  )
})

describe('a position as it was when its broker stood still', () => {
  test.for([
    ['and the broker knows nothing later', 0],
    ['and the broker fell behind after it was asked who is in the group', 1],
  ])('is not believed: %s', async ([, known]) => {
    const { group, open } = place()
    const score = async (count: number) => {
      const topics = await open({ partitions: 1 })
      const batch = await topics.reader('transactions', 'score').read(count, soon())
      await batch.commit(count, { predictions: predicted(batch.records) })
      await topics.close()
    }
    await (await open({ partitions: 1 })).append({ transactions: transactions(0, 6) })
    await score(2)
    let old: Buffer | undefined
    {
      const asks = request('OffsetFetch', group)
      const keep = (answer: Buffer) => {
        old = answer
      }
      using _ = cluster.relay.rule((frame) => (asks(frame) ? keep : undefined))
      await score(2)
    }
    let [beats, behind] = [0, true]
    using _positions = cluster.relay.rule((frame) => {
      if (!behind || !request('OffsetFetch', group)(frame)) return undefined
      const answer = Buffer.from(old!)
      answer.writeInt32BE(frame.readInt32BE(8), 4)
      return answer
    })
    using _heartbeats = cluster.relay.rule((frame) => {
      if (!behind || !request('Heartbeat', group)(frame) || beats++ < (known as number)) return undefined
      behind = false // by then it knows
      return unknownMember(frame.readInt32BE(8))
    })
    const topics = await open({ partitions: 1 })
    const batch = await topics.reader('transactions', 'score').read(6, soon())
    expect(numbers(batch.records)).toEqual([4, 5])
    await batch.commit(2, { predictions: predicted(batch.records) })
    expect(await predictions(topics)).toEqual(range(0, 6))
  })
})
