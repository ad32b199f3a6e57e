import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { type KafkaTopicsOptions, kafkaTopics } from '../../src/engines/kafka/topics.ts'
import { TakenOver } from '../../src/io/errors.ts'
import type { Prediction, Transaction } from '../../src/transaction.ts'
import { held, insist, listeningLog, prediction, transaction } from '../rows.ts'
import { asked, type AskedReader as Reader, type AskedTopics as Topics } from '../topic/asked.ts'
import { candidate } from '../topic/candidate.ts'
import { request, startProxied, unknownMember } from './relay.ts'

const opened = (options: KafkaTopicsOptions) => kafkaTopics(options).then(asked)

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
  const { log, text } = listeningLog()
  return {
    prefix,
    text,
    group: `${prefix}client-predict-score`,
    async open(options: Partial<KafkaTopicsOptions> = {}): Promise<Topics> {
      const topics = await opened({
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

/**
 * Keeps what was answered last to each kind of these requests, until it is first told whether to repeat it, as a broker
 * that has stood still since.
 */
function memory(match: (frame: Buffer) => boolean, kind: (frame: Buffer) => unknown = () => 0) {
  const answers = new Map<unknown, Buffer>()
  let repeating: boolean | undefined
  let repeated = 0
  const rule = cluster.relay.rule((frame) => {
    if (!match(frame)) return undefined
    if (repeating === undefined) return (answer) => void answers.set(kind(frame), answer)
    if (!repeating) return undefined
    repeated++
    const answer = Buffer.from(answers.get(kind(frame))!)
    answer.writeInt32BE(frame.readInt32BE(8), 4)
    return answer
  })
  return {
    ...rule,
    repeat(on: boolean) {
      repeating = on
    },
    /** how many were */
    repeated: () => repeated,
  }
}
/** Lets a fetch of one partition, without a session, ask for what the broker has not got. */
const beyond = (frame: Buffer) => frame.writeBigInt64BE(1n << 40n, frame.length - 29)
/** Where a partition begins is asked as -2 (its end as -1). */
const ofTheStart = (frame: Buffer) => frame.includes(Buffer.from('fffffffffffffffe', 'hex'))

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

test('a note is refused when another process has its turn by then, also with a batch of which nothing is left', async () => {
  const { prefix, open } = place()
  const first = await open({ session: 2000 })
  await first.append({ predictions: [prediction(1)] })
  const held = first.reader('predictions', 'alert')
  const lease = await candidate(first, 'alert').term()
  const batch = await whole(held, 1)
  await batch.commit(1, {}, { it: 'first' })
  using holding = cluster.relay.hold(request('Heartbeat', `${prefix}client-predict-alert`))
  await holding.first
  const second = await open({ brokers: cluster.beside, session: 2000 })
  const reader = second.reader('predictions', 'alert')
  await candidate(second, 'alert').term()
  await second.append({ predictions: [prediction(2)] })
  const theirs = await whole(reader, 1)
  await theirs.commit(1, {}, { it: 'second' })
  expect(lease.lost.aborted).toBe(false) // it has not heard of it
  await expect(lease.note({ it: 'first again' })).rejects.toBeInstanceOf(TakenOver)
  await expect(lease.note({})).rejects.toBe(lease.lost.reason)
  await expect(batch.commit(0, {}, { it: 'first again' })).rejects.toBeInstanceOf(TakenOver)
  expect(await second.noted('it')).toBe('second')
  holding.release()
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
    using positions = memory(request('OffsetFetch', group))
    await score(2)
    positions.repeat(true)
    let beats = 0
    using _heartbeats = cluster.relay.rule((frame) => {
      if (!request('Heartbeat', group)(frame) || beats++ !== known) return undefined
      positions.repeat(false) // by then it knows
      return unknownMember(frame.readInt32BE(8))
    })
    const topics = await open({ partitions: 1 })
    const batch = await topics.reader('transactions', 'score').read(6, soon())
    expect(numbers(batch.records)).toEqual([4, 5])
    await batch.commit(2, { predictions: predicted(batch.records) })
    expect(await predictions(topics)).toEqual(range(0, 6))
  })
})

describe('a broker that stood still', () => {
  test('and leads in an earlier term does not take a reader back to the oldest record', async () => {
    const { prefix, open, text } = place()
    const score = async (topics: Topics, count: number) => {
      const reader = topics.reader('transactions', 'score')
      const batch = await whole(reader, count)
      await batch.commit(count, { predictions: predicted(batch.records) })
      return reader
    }
    const first = await open({ partitions: 1 })
    await first.append({ transactions: transactions(0, 4) })
    using ends = memory(request('ListOffsets', `${prefix}transactions`), ofTheStart)
    expect(await (await score(first, 2)).lag()).toBe(2)
    ends.repeat(false)
    await first.close()
    await cluster.node.stop()
    await cluster.node.start() // which is another term
    const second = await open({ brokers: cluster.beside })
    await insist(second, { transactions: transactions(4, 8) })
    await score(second, 4)
    await second.close()
    const third = await open()
    ends.repeat(true)
    using _ = cluster.relay.rule((frame) => {
      if (ends.repeated() > 1) ends.repeat(false)
      else if (request('Fetch', '')(frame)) beyond(frame)
      return undefined
    })
    const reader = third.reader('transactions', 'score')
    const batch = await reader.read(9, soon()).catch(() => whole(reader, 2))
    expect(numbers(batch.records)).toEqual([6, 7])
    expect(ends.repeated()).toBeGreaterThan(1)
    expect(text()).not.toContain('going on with the oldest')
  })

  test.for(['alert', 'fetch'] as const)(
    'does not hide what was noted from the next one whose turn it is: %s',
    async (name) => {
      const { prefix, open } = place()
      const first = await open()
      await candidate(first, name).term()
      await first.append({}, { it: 'old' })
      using ends = memory(request('ListOffsets', `${prefix}notes`), ofTheStart)
      expect(await first.noted('it')).toBe('old')
      ends.repeat(false)
      const beside = await open({ brokers: cluster.beside })
      await beside.append({}, { it: 'new' })
      await first.close()
      const next = await open()
      ends.repeat(true)
      using _ = cluster.relay.rule(() => {
        if (ends.repeated() > 4) ends.repeat(false)
        return undefined
      })
      await candidate(next, name).term()
      expect(await next.noted('it')).toBe('new')
      expect(ends.repeated()).toBeGreaterThan(4)
    },
  )
})
