import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { text as whole } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Admin, Consumer, type MessageToProduce, Producer } from '@platformatic/kafka'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { openLetters } from '../../src/commands/dead-letters.ts'
import { cardToken } from '../../src/engines/kafka/codec.ts'
import { type KafkaTopicsOptions, kafkaTopics } from '../../src/engines/kafka/topics.ts'
import { reason, TakenOver } from '../../src/io/errors.ts'
import { stringify } from '../../src/io/json.ts'
import type { Batch } from '../../src/topic/topic.ts'
import type { DeadLetter, Transaction } from '../../src/transaction.ts'
import { held, LONG_CARD, listeningLog, prediction, row, transaction, waitFor } from '../rows.ts'
import { asked, type AskedReader as Reader, type AskedTopics as Topics } from '../topic/asked.ts'
import { candidate } from '../topic/candidate.ts'
import { type Kafka, startKafka } from './broker.ts'

const opened = (options: KafkaTopicsOptions) => kafkaTopics(options).then(asked)

const MINUTE = 60_000
const DAY = 86_400_000
vi.setConfig({ testTimeout: MINUTE })

let kafka: Kafka
let admin: Admin
beforeAll(async () => {
  kafka = await startKafka()
  admin = new Admin({ clientId: 'test', bootstrapBrokers: kafka.brokers })
}, 5 * MINUTE)
afterAll(async () => {
  await admin.close()
  await kafka[Symbol.asyncDispose]()
})

let runs = 0
/** Names that no other test has; `open` opens topics of these names as a worker does, closed when the test is over. */
function place() {
  const prefix = `run${runs++}-`
  const { log, text } = listeningLog()
  return {
    text,
    named: (topic: string) => prefix + topic,
    group: (name: string) => `${prefix}client-predict-${name}`,
    async open(options: Partial<KafkaTopicsOptions> = {}): Promise<Topics> {
      const topics = await opened({
        brokers: kafka.brokers,
        prefix,
        log,
        worker: true,
        partitions: 1,
        ...options,
      })
      onTestFinished(() => topics.close())
      return topics
    },
  }
}
type Place = ReturnType<typeof place>

type Message = MessageToProduce<Buffer, Buffer, Buffer, Buffer>
/** Another program that publishes, closed when the test is over. */
function program(options: { transactionalId?: string } = {}) {
  const producer = new Producer<Buffer, Buffer, Buffer, Buffer>({
    clientId: 'test',
    bootstrapBrokers: kafka.brokers,
    retries: 200,
    retryDelay: 20, // until the transaction before is over
    ...(options.transactionalId && { idempotent: true, ...options }),
  })
  onTestFinished(() => producer.close())
  return producer
}
async function publish(topic: string, values: (string | Buffer | null)[], message: Partial<Message> = {}) {
  const producer = program()
  for (const value of values)
    await producer.send({
      messages: [{ topic, partition: 0, ...message, value: value && Buffer.from(value) } as never],
    })
}
const unknown = { producerId: -1n, producerEpoch: -1 } as never // whoever had the name before
/** Transactions of another program, under one name. */
async function transactional(topic: string) {
  const producer = program({ transactionalId: `program-${runs++}` })
  const begin = async () => {
    const open = await producer.beginTransaction(unknown)
    const send = (...numbers: number[]) =>
      open.send({ messages: numbers.map((n) => ({ topic, partition: 0, value: Buffer.from(rowText(n)) })) })
    return { send, commit: () => open.commit(), abort: () => open.abort(), open, producer }
  }
  return { begin }
}

const rowText = (n: number, changes: Record<string, unknown> = {}) => stringify(row(n, changes))
const number = ({ trans_num }: { trans_num: string }) => Number(trans_num.slice('trans-'.length))
const numbers = (records: readonly { trans_num: string }[]) => records.map(number)
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
const transactions = (from: number, to: number) => range(from, to).map((n) => transaction(n))
const predictions = (from: number, to: number) => range(from, to).map((n) => prediction(n))
const soon = (ms = 30_000) => AbortSignal.timeout(ms)

/** Reads and commits until there were so many records. */
async function drain<T>(reader: Reader<T>, count: number): Promise<T[]> {
  const found: T[] = []
  while (found.length < count) {
    const batch = await reader.read(count - found.length, soon())
    await batch.commit(batch.records.length)
    found.push(...batch.records)
  }
  return found
}
/** Reads and commits until nothing is left, not even a message that is set aside. */
async function rest<T>(reader: Reader<T>): Promise<T[]> {
  const stop = new AbortController()
  async function reading() {
    for (const found: T[] = []; ; ) {
      const batch = await reader.read(100, stop.signal).catch(() => undefined)
      if (!batch) return found
      await batch.commit(batch.records.length)
      found.push(...batch.records)
    }
  }
  const found = reading()
  await waitFor('nothing to be left', async () => (await reader.lag()) === 0, 30_000)
  stop.abort()
  return found
}
const letters = async (topics: Topics) => (await held(topics, 'dead-letters')) as DeadLetter[]

/** All messages of a topic, as another program reads them. */
async function raw(topic: string, count: number) {
  const consumer = new Consumer({ clientId: 'test', groupId: `raw-${runs++}`, bootstrapBrokers: kafka.brokers })
  const found: { partition: number; key: string | undefined; value: string; headers: string[] }[] = []
  for await (const { partition, key, value, headers } of await consumer.consume({
    topics: [topic],
    mode: 'earliest',
  })) {
    const names = [...(headers as Map<Buffer, Buffer>)].map(([name, text]) => `${name}=${text}`)
    found.push({ partition, key: key?.toString(), value: String(value), headers: names })
    if (found.length === count) break
  }
  await consumer.close(true)
  return found
}
async function ends(topic: string) {
  const partitions = (await admin.metadata({ topics: [topic], forceUpdate: true })).topics.get(topic)!.partitions
  const ask = async (timestamp: bigint) => {
    const [found] = await admin.listOffsets({
      topics: [{ name: topic, partitions: partitions.map((_, partitionIndex) => ({ partitionIndex, timestamp })) }],
    })
    return found!.partitions.sort((a, b) => a.partitionIndex - b.partitionIndex).map(({ offset }) => Number(offset))
  }
  return { first: await ask(-2n), end: await ask(-1n) }
}
async function settings(topic: string) {
  const [found] = await admin.describeConfigs({
    resources: [{ resourceType: 2, resourceName: topic, configurationKeys: null as never }],
  })
  return Object.fromEntries(found!.configs.map(({ name, value }) => [name, value]))
}

describe('topics', () => {
  test('are created as they are wanted, under the prefix, and forget nothing by themselves', async () => {
    const { open, named } = place()
    await open({ partitions: 4, replication: 1 })
    const names = ['transactions', 'predictions', 'dead-letters', 'notes'].map(named)
    const { topics } = await admin.metadata({ topics: [...names] }) // it would sort ours
    expect(names.map((name) => topics.get(name)!.partitionsCount)).toEqual([4, 4, 1, 1])
    expect(names.map((name) => topics.get(name)!.partitions[0]!.replicas.length)).toEqual([1, 1, 1, 1])
    for (const name of names.slice(0, 3))
      expect(await settings(name)).toMatchObject({ 'retention.ms': '-1', 'cleanup.policy': 'delete' })
    expect(await settings(named('notes'))).toMatchObject({ 'cleanup.policy': 'compact', 'segment.ms': '3600000' })
    for (const name of names) expect(await settings(name)).toMatchObject({ 'max.message.bytes': '100000000' })
  })

  test('that are there are used as they are', async () => {
    const { open, named, text } = place()
    const configs = [{ name: 'retention.ms', value: '-1' }]
    await admin.createTopics({ topics: [named('transactions')], partitions: 3, replicas: 1, configs })
    const topics = await open({ partitions: 5 })
    await topics.append({ transactions: transactions(0, 30) })
    const found = await drain(topics.reader('transactions', 'score'), 30)
    expect(new Set(numbers(found))).toEqual(new Set(range(0, 30)))
    expect((await ends(named('transactions'))).end.length).toBe(3)
    expect(text()).toBe('')
  })

  test('that take as large records as the brokers please are told to take larger ones, by the worker alone', async () => {
    const { open, named, text } = place()
    const configs = [{ name: 'retention.ms', value: '-1' }]
    await admin.createTopics({ topics: [named('dead-letters')], partitions: 1, replicas: 1, configs })
    await admin.createTopics({ topics: [named('notes')], partitions: 1, replicas: 1 }) // by who knows no compaction
    await open({ worker: false })
    expect(await settings(named('dead-letters'))).toMatchObject({ 'max.message.bytes': '1048588' })
    await open()
    for (const name of ['dead-letters', 'notes'])
      expect(await settings(named(name))).toMatchObject({ 'max.message.bytes': '100000000' })
    expect(await settings(named('dead-letters'))).toMatchObject({ 'retention.ms': '-1' })
    expect(text()).not.toContain('max.message.bytes')
  })

  test('whose largest record somebody has chosen keep it, and it is said', async () => {
    const { open, named, text } = place()
    const configs = ['retention.ms=-1', 'max.message.bytes=2000000'].map((line) => {
      const [name, value] = line.split('=')
      return { name: name!, value: value! }
    })
    await admin.createTopics({ topics: [named('dead-letters')], partitions: 1, replicas: 1, configs })
    await open()
    expect(await settings(named('dead-letters'))).toMatchObject({ 'max.message.bytes': '2000000' })
    expect(text()).toBe(
      `the Kafka topic ${named('dead-letters')} takes no record of more than 2000000 bytes: of a larger one only the beginning is kept, in dead-letters; set its max.message.bytes to 100000000`,
    )
  })

  test('are created once by workers that start at once', async () => {
    const { open } = place()
    const workers = await Promise.all(range(0, 5).map(() => open()))
    for (const [n, topics] of workers.entries()) await topics.append({ transactions: [transaction(n)] })
    expect(numbers(await drain(workers[0]!.reader('transactions', 'score'), 5))).toEqual(range(0, 5))
  })

  test('that forget by time are warned of, by the worker alone', async () => {
    const { open, named, text } = place()
    const configs = [{ name: 'retention.ms', value: String(3 * DAY) }]
    await admin.createTopics({ topics: [named('predictions')], partitions: 1, replicas: 1, configs })
    await open({ worker: false })
    expect(text()).toBe('')
    await open()
    expect(text()).toBe(
      `the Kafka topic ${named('predictions')} forgets after 3.0 days what nobody has read by then; set its retention.ms to -1: client-predict removes what every reader has passed`,
    )
  })
})

describe('messages', () => {
  test('are JSON with every digit, keyed by a token that does not lead to the card', async () => {
    const { open, named } = place()
    const topics = await open()
    await topics.append({
      transactions: [transaction(1, { cc_num: LONG_CARD })],
      predictions: [prediction(1, { cc_num: LONG_CARD })],
      'dead-letters': [{ stage: 'score', at: 1, reason: 'bad', record: transaction(1, { cc_num: LONG_CARD }) }],
    })
    for (const topic of ['transactions', 'predictions']) {
      const [message] = await raw(named(topic), 1)
      expect(message!.key).toBe(cardToken(LONG_CARD))
      expect(message!.key).toMatch(/^[\da-f]{4}$/)
      expect(message!.value).toContain(`"cc_num":${LONG_CARD}`)
      expect(JSON.parse(message!.value)).toMatchObject({ trans_num: 'trans-1', merchant: row(1).merchant })
      expect(message!.headers).toEqual(['client-predict=1'])
    }
    expect((await raw(named('dead-letters'), 1))[0]).toMatchObject({ key: undefined, headers: ['client-predict=1'] })
  })

  test('of a card stay in order, over both topics and six partitions', async () => {
    const { open } = place()
    const topics = await open({ partitions: 6 })
    const cards = range(0, 20).map((n) => 4_000_000_000_000n + BigInt(n * 7))
    const ofCard = (n: number) => transaction(n, { cc_num: cards[n % cards.length] })
    for (let n = 0; n < 300; n += 10) await topics.append({ transactions: range(n, n + 10).map(ofCard) })
    const score = topics.reader('transactions', 'score')
    for (let left = 300; left > 0; ) {
      const batch = await score.read(37, soon())
      await batch.commit(batch.records.length, {
        predictions: batch.records.map((t) => ({ ...prediction(0), ...t })),
      })
      left -= batch.records.length
    }
    const found = await drain(topics.reader('predictions', 'record'), 300)
    expect(new Set(numbers(found)).size).toBe(300)
    for (const [i, card] of cards.entries())
      expect(numbers(found.filter(({ cc_num }) => cc_num === card))).toEqual(range(0, 15).map((k) => i + 20 * k))
    const places = await Array.fromAsync(topics.scan('predictions'), ({ id }) => id.split('-')[0])
    expect(new Set(places).size).toBe(6)
  })

  test('of one partition do not wait until another one is read', async () => {
    const { open } = place()
    const topics = await open({ partitions: 3 })
    await topics.append({ transactions: transactions(0, 300) })
    const places = new Map<string, string>()
    for await (const { id, record } of topics.scan('transactions')) places.set(record.trans_num, id[0]!)
    const score = topics.reader('transactions', 'score')
    const seen = new Set<string>()
    for (let batches = 0; batches < 6; batches++)
      for (const { trans_num } of (await score.read(5, soon())).records) seen.add(places.get(trans_num)!)
    expect(seen.size).toBe(3)
  })

  test('are named by partition and offset when they are scanned, and by the offset where there is one partition', async () => {
    const { open } = place()
    const topics = await open({ partitions: 3 })
    const letter: DeadLetter = { stage: 'fetch', at: 1, reason: 'bad', record: {} }
    await topics.append({ transactions: transactions(0, 20), 'dead-letters': [letter, letter] })
    const scan = () => Array.fromAsync(topics.scan('transactions'), ({ id, record }) => `${id} ${record.trans_num}`)
    const found = await scan()
    expect(new Set(found.map((line) => line.split(' ')[0])).size).toBe(20)
    for (const line of found) expect(line).toMatch(/^[012]-\d+ /)
    await topics.append({ transactions: transactions(20, 25) })
    expect(await scan()).toEqual(expect.arrayContaining(found))
    expect(await Array.fromAsync(topics.scan('dead-letters'), ({ id }) => id)).toEqual(['0', '1'])
  })

  test('are handed over by the thousand in one commit, over all partitions', async () => {
    const { open } = place()
    const topics = await open({ partitions: 6 })
    await topics.append({ transactions: transactions(0, 5000) })
    const score = topics.reader('transactions', 'score')
    let batch = await score.read(5000, soon())
    while (batch.records.length < 5000) {
      score.rewind()
      batch = await score.read(5000, soon())
    }
    await batch.commit(5000, { predictions: batch.records.map((t) => ({ ...prediction(0), ...t })) })
    expect(await score.lag()).toBe(0)
    const found = await drain(topics.reader('predictions', 'record'), 5000)
    expect(numbers(found).sort((a, b) => a - b)).toEqual(range(0, 5000))
  })

  const wide = (n: number, size: number) => ({ ...transaction(n), merchant: 'x'.repeat(size) })

  /** Text that no compression makes much smaller. */
  const noise = (size: number) => randomBytes(size).toString('base64').slice(0, size)
  const letter = (body: string): DeadLetter => ({ stage: 'fetch', at: 1, reason: 'bad', record: { body } })
  const small = async (topic: string, bytes: number) => {
    const configs = [{ name: 'max.message.bytes', value: String(bytes) }]
    await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1, configs })
  }

  test('larger than a request together are there together, or none of them', async () => {
    const { open, named } = place()
    await small(named('transactions'), 600_000)
    await small(named('notes'), 600_000)
    const topics = await open()
    await topics.append({ transactions: range(0, 5).map((n) => wide(n, 400_000)) })
    const score = topics.reader('transactions', 'score')
    const batch = await score.read(1, soon())
    const predictions = range(5, 8).map((n) => ({ ...prediction(n), merchant: 'x'.repeat(400_000) }))
    const refused = batch.commit(1, { predictions }, { large: noise(900_000) }).then(() => '', reason)
    expect(await refused).toMatch(/^cannot work with Kafka at \S+: MESSAGE_TOO_LARGE/)
    const began = performance.now()
    expect(await held(topics, 'predictions')).toEqual([])
    await publish(named('predictions'), ['x'])
    await topics.append({ predictions: [prediction(9)] })
    expect(numbers(await drain(topics.reader('predictions', 'alert'), 1))).toEqual([9])
    expect(performance.now() - began).toBeLessThan(10_000) // after which brokers end what nobody has ended
    score.rewind()
    expect(numbers(await drain(score, 5))).toEqual([0, 1, 2, 3, 4])
  })

  test('of several MB are kept whole: what came whole, what is noted, and what another program wrote', async () => {
    const { open, named, text } = place()
    const topics = await open()
    const [body, note, foreign] = [noise(5_000_000), noise(3_000_000), noise(1_000_000)]
    await topics.append({ transactions: [transaction(0), wide(1, 2_000_000)], 'dead-letters': [letter(body)] })
    await topics.append({}, { large: note })
    await publish(named('transactions'), [foreign])
    expect((await drain(topics.reader('transactions', 'score'), 2)).map((t) => t.merchant?.length)).toEqual([
      transaction(0).merchant!.length,
      2_000_000,
    ])
    await waitFor(
      'the foreign one',
      async () => (await letters(topics)).length > 1 || rest(topics.reader('transactions', 'score')),
    )
    const bodies = (await letters(topics)).map(({ record }) => (record as { body: string }).body)
    expect([bodies.length, bodies[0] === body, bodies[1] === foreign]).toEqual([2, true, true])
    expect((await topics.noted('large')) === note).toBe(true)
    expect(text()).toBe('a foreign message in the topic transactions: it is no JSON; set aside in dead-letters')
  })

  test('come in batches of so many bytes, however many are asked for', async () => {
    const { open } = place()
    const topics = await open()
    for (const n of range(0, 12)) await topics.append({ transactions: [wide(n, 2_000_000)] })
    const score = topics.reader('transactions', 'score')
    const counts: number[] = []
    for (let left = 12; left > 0; left -= counts.at(-1)!) {
      const batch = await score.read(500, soon())
      counts.push(batch.records.length)
    }
    score.rewind()
    const { records } = await score.read(500, soon())
    counts.push(records.length)
    for (const count of counts) expect(count).toBeLessThanOrEqual(5) // 8 MiB, and what was begun
    expect(numbers(records)).toEqual(range(0, records.length))
  })

  test.for([
    ['one that is compressed', 1_048_588, 3_000_000],
    ['one that is not', 300_000, 400_000],
  ] as const)(
    'larger than the brokers take hold up nothing, their beginning is set aside: %s',
    async ([, most, size]) => {
      const { open, named, text } = place()
      await small(named('transactions'), most)
      const topics = await open()
      const said = text()
      const large = { ...transaction(1), merchant: noise(size) }
      const others = [...range(2, 500), 501].map((n) => wide(n, 900)) // more in a request than this topic takes
      await topics.append({ transactions: [transaction(0), large, ...others] })
      expect(numbers(await drain(topics.reader('transactions', 'score'), 500))).toEqual([0, ...range(2, 500), 501])
      const [found, ...more] = await letters(topics)
      expect(more).toEqual([])
      const { body, bytes } = found!.record as { body: string; bytes: number }
      expect(bytes).toBe(stringify(large).length)
      expect(stringify(large).startsWith(body)).toBe(true)
      const why = `a record for transactions has ${bytes} bytes, more than Kafka takes`
      expect([found!.stage, found!.reason, body.length]).toEqual(['fetch', why, 65_536])
      expect(text().slice(said.length).trim()).toBe(
        `${why}; its beginning is set aside in dead-letters; raise max.message.bytes of ${named('transactions')}`,
      )
    },
  )
})

describe('other programs', () => {
  test('publish transactions as rows of the producer, with any of its times', async () => {
    const { open, named } = place()
    const topics = await open()
    const { current_time: time, ...rest } = row(0)
    const timestamp = BigInt(time as number) + 700n
    const rows = [
      { ...rest, current_time: time },
      { ...rest, event_time: time },
      { ...rest, unix_time: Math.floor(Number(time) / 1000) },
      { ...rest, cc_num: String(LONG_CARD), current_time: time, beside: 'what we do not know' },
    ]
    await publish(
      named('transactions'),
      rows.map((r) => stringify(r)),
      { timestamp },
    )
    await topics.append({ transactions: [transaction(0)] })
    const found = await drain(topics.reader('transactions', 'score'), 5)
    const wanted = { ...transaction(0), fetched_at: Number(timestamp) }
    const inSeconds = Math.floor(wanted.event_time / 1000) * 1000
    expect(found).toEqual([
      wanted,
      wanted,
      { ...wanted, event_time: inSeconds },
      { ...wanted, cc_num: LONG_CARD },
      transaction(0),
    ])
    expect(await letters(topics)).toEqual([])
  })

  test.for(['gzip', 'snappy', 'lz4', 'zstd'] as const)('publish transactions compressed by %s', async (compression) => {
    const { open, named } = place()
    const topics = await open()
    const values = range(0, 50).map((n) => rowText(n))
    const messages = values.map((value) => ({ topic: named('transactions'), partition: 0, value: Buffer.from(value) }))
    await program().send({ messages, compression })
    expect(numbers(await drain(topics.reader('transactions', 'score'), 50))).toEqual(range(0, 50))
  })

  const { amt: _amt, ...withoutAmount } = row(3, { cc_num: LONG_CARD })
  test.for<[string, string | Buffer | null, string]>([
    ['no JSON', `the card is ${LONG_CARD}`, 'it is no JSON'],
    ['a list', `[${LONG_CARD}]`, 'it is no JSON object'],
    ['text', JSON.stringify(`${LONG_CARD}`), 'it is no JSON object'],
    ['nothing', null, 'it is no JSON'],
    ['an empty value', '', 'it is no JSON'],
    ['binary', Buffer.from([0xff, 0, 0xfe, 0x80, 0x30]), 'it is no JSON'],
    ['a row without an amount', stringify(withoutAmount), 'amt is missing'],
    ['a row with a bad card', rowText(3, { cc_num: 1234 }), 'cc_num must have 11 to 19 digits, the first no 0'],
    [
      'a row without a time',
      rowText(3, { current_time: null }),
      'current_time (or unix_time, or trans_date_trans_time) is missing or is no time',
    ],
    ['a large one', `${LONG_CARD} `.repeat(50_000), 'it is no JSON'],
  ])('that publish %s have it set aside, with a reason that names no value', async ([, value, complaint]) => {
    const { open, named, text } = place()
    const topics = await open()
    await publish(named('transactions'), [value])
    await topics.append({ transactions: [transaction(1)] })
    const score = topics.reader('transactions', 'score')
    expect(numbers(await drain(score, 1))).toEqual([1])
    expect(await score.lag()).toBe(0)
    const why = `a foreign message in the topic transactions: ${complaint}`
    const [letter, ...others] = await letters(topics)
    expect(others).toEqual([])
    const { body, bytes } = letter!.record as { body: string; bytes: number }
    expect([letter!.stage, letter!.reason, bytes]).toEqual(['fetch', why, value ? Buffer.byteLength(value) : 0])
    expect(letter!.at).toBeCloseTo(Date.now(), -5)
    expect(body === (value?.toString() ?? '')).toBe(true)
    expect(text()).toBe(`${why}; set aside in dead-letters`)
    expect(text()).not.toContain(String(LONG_CARD))
  })

  test('that publish more than a fetch takes hold up nothing', async () => {
    const { open, named, text } = place()
    const configs = [{ name: 'max.message.bytes', value: '5000000' }]
    await admin.createTopics({ topics: [named('transactions')], partitions: 1, replicas: 1, configs })
    const topics = await open()
    const large = 'x'.repeat(2_000_000)
    await publish(named('transactions'), [rowText(1), rowText(2, { merchant: large }), large, rowText(3)])
    const score = topics.reader('transactions', 'score')
    const found = await drain(score, 3)
    expect(numbers(found)).toEqual([1, 2, 3])
    await topics.append({ predictions: found.map((t) => ({ ...prediction(0), ...t })) })
    expect(numbers((await held(topics, 'predictions')) as Transaction[])).toEqual([1, 2, 3]) // its texts were cut
    const kept = (await letters(topics)).map(({ reason, record }) => [reason, (record as { body: string }).body.length])
    expect(kept).toEqual([['a foreign message in the topic transactions: it is no JSON', 2_000_000]])
    expect(text()).not.toContain(large.slice(0, 100))
  })

  test('that publish what is no transaction do not disturb the order, and each is set aside once', async () => {
    const { open, named } = place()
    const topics = await open()
    const values = range(0, 30).map((n) => (n % 3 === 1 ? rowText(n) : `no row ${n}`)) // begins and ends with two
    await publish(named('transactions'), values)
    const score = topics.reader('transactions', 'score')
    const good = range(0, 10).map((k) => 3 * k + 1)
    const first = await score.read(4, soon())
    const more = await score.read(100, soon())
    expect(numbers([...first.records, ...more.records])).toEqual(good)
    await first.commit(1)
    score.rewind()
    const second = await score.read(5, soon())
    expect(numbers(second.records)).toEqual(good.slice(1, 6))
    await second.commit(2)
    await second.commit(3)
    expect(numbers(await rest(score))).toEqual(good.slice(6))
    expect(await score.lag()).toBe(0)
    const bodies = (await letters(topics)).map(({ record }) => (record as { body: string }).body)
    expect(bodies).toEqual(values.filter((value) => value.startsWith('no row')))
  })

  test('that publish nothing else are passed as well', async () => {
    const { open, named } = place()
    const topics = await open()
    await publish(named('transactions'), ['one', 'two', 'three'])
    const score = topics.reader('transactions', 'score')
    const stop = new AbortController()
    const reading = score.read(10, stop.signal).catch((error) => error)
    await waitFor('the position', async () => (await score.lag()) === 0)
    expect((await letters(topics)).length).toBe(3)
    await publish(named('transactions'), ['four'])
    await waitFor('the fourth', async () => (await letters(topics)).length === 4)
    stop.abort(new Error('stopped'))
    expect(await reading).toBe(stop.signal.reason)
    expect(await score.lag()).toBe(0)
  })

  test('that publish into predictions have it set aside, whatever it is, once for all readers', async () => {
    const { open, named } = place()
    const topics = await open()
    await publish(named('predictions'), [stringify(prediction(7)), 'x'])
    await topics.append({ predictions: [prediction(1)] })
    for (const name of ['record', 'alert'] as const)
      expect(numbers(await drain(topics.reader('predictions', name), 1))).toEqual([1])
    const why = 'a foreign message in the topic predictions: client-predict has not written it'
    expect((await letters(topics)).map((letter) => letter.reason)).toEqual([why, why])
    expect(numbers((await held(topics, 'predictions')) as Transaction[])).toEqual([1])
  })

  test('do not make the position pass what is in hand', async () => {
    const { open, named } = place()
    const topics = await open()
    const alert = topics.reader('predictions', 'alert')
    await topics.append({ predictions: [prediction(1)] })
    const inHand = await alert.read(10, soon())
    await publish(named('predictions'), ['x'])
    const stop = new AbortController()
    const reading = alert.read(10, stop.signal).catch(() => undefined)
    expect(await waitFor('nothing', async () => (await letters(topics)).length, 1500).catch(() => 0)).toBe(0)
    expect(await alert.lag()).toBe(2)
    await inHand.commit(1)
    await waitFor('the letter', async () => (await letters(topics)).length)
    await topics.append({ predictions: [prediction(2)] })
    expect(numbers((await reading)!.records)).toEqual([2])
    expect((await letters(topics)).length).toBe(1)
  })
})

describe('transactions of other programs that were aborted', () => {
  const read = async (topics: Topics) => numbers(await rest(topics.reader('transactions', 'score')))

  test('are never read, twice in a row by one producer, or in between', async () => {
    const { open, named } = place()
    const topics = await open()
    const { begin } = await transactional(named('transactions'))
    for (const [n, end] of (['abort', 'abort', 'commit', 'abort', 'abort', 'commit', 'abort'] as const).entries()) {
      const open = await begin()
      await open.send(n, n)
      await open[end]()
    }
    await topics.append({ transactions: [transaction(9)] })
    expect(await read(topics)).toEqual([2, 2, 5, 5, 9])
    expect(await letters(topics)).toEqual([])
  })

  test('do not take with them what was committed before an abort without records', async () => {
    const { open, named } = place()
    const topics = await open()
    const topic = named('transactions')
    const { begin } = await transactional(topic)
    const aborted = await begin()
    await aborted.send(1)
    await aborted.abort()
    const committed = await begin()
    await committed.send(2)
    await committed.commit()
    const { open: empty, producer, abort } = await begin()
    const wanted = [{ topic, partition: 0 } as never]
    await empty.addPartitions((await producer.metadata({ topics: [topic] })) as never, wanted)
    await abort()
    await topics.append({ transactions: [transaction(3)] })
    expect(await read(topics)).toEqual([2, 3])
  })

  test('are never read when the mark of the abort comes with a later fetch', async () => {
    const { open, named } = place()
    const topics = await open()
    const { begin } = await transactional(named('transactions'))
    const open1 = await begin()
    await open1.send(1)
    const wide = range(10, 14).map((n) => rowText(n, { merchant: 'x'.repeat(400_000) }))
    await publish(named('transactions'), wide)
    await open1.send(2)
    await publish(named('transactions'), [rowText(14)])
    await open1.abort()
    await topics.append({ transactions: [transaction(15)] }) // what is behind it counts once the abort has got around
    expect(await read(topics)).toEqual([10, 11, 12, 13, 14, 15])
  })

  test('are never read when those of several producers are mixed', async () => {
    const { open, named } = place()
    const topics = await open()
    const [a, b, c, d] = await Promise.all(range(0, 4).map(() => transactional(named('transactions'))))
    const [one, two, three] = [await a!.begin(), await b!.begin(), await c!.begin()]
    await one.send(1)
    await two.send(2)
    await one.send(3)
    await three.send(4)
    await two.abort()
    await publish(named('transactions'), [rowText(5)])
    const again = await b!.begin()
    await again.send(6)
    await three.send(7)
    const last = await d!.begin()
    await last.send(8)
    await last.abort()
    await one.commit()
    await three.abort()
    await again.commit()
    await topics.append({ transactions: [transaction(9)] })
    expect(await read(topics)).toEqual([1, 3, 5, 6, 9])
    const lag = topics.reader('transactions', 'score').lag()
    expect(await lag).toBe(0)
  })

  test('are waited for as long as they are open, which is said', async () => {
    const { open, named, text } = place()
    const topics = await open({ stuck: 700 })
    const { begin } = await transactional(named('transactions'))
    const other = await begin()
    await other.send(1)
    await publish(named('transactions'), [rowText(2)])
    const score = topics.reader('transactions', 'score')
    const reading = score.read(10, soon())
    await waitFor('a word', () => text())
    expect(text()).toBe(
      `score got none of the 2 messages that ${named('transactions')} has for it, for 0.7 s: another program has begun a transaction and has not ended it; the brokers end it when its time is over, after 15 min at most unless they are told otherwise`,
    )
    expect(await score.lag()).toBe(0)
    await other.commit()
    expect(numbers((await reading).records)).toEqual([1, 2])
  })
})

describe('the lag', () => {
  test('counts records, not marks, nor what was aborted', async () => {
    const { open, named } = place()
    const topics = await open({ partitions: 2 })
    const score = topics.reader('transactions', 'score')
    const { begin } = await transactional(named('transactions'))
    for (const n of range(0, 5)) {
      await topics.append({ transactions: [transaction(n)] })
      const other = await begin()
      await other.send(100 + n)
      await other.abort()
    }
    expect(await score.lag()).toBe(5)
    await drain(score, 3)
    expect(await score.lag()).toBe(2)
    await drain(score, 2)
    expect(await score.lag()).toBe(0)
  })

  test('is about right when it is large', async () => {
    const { open } = place()
    const topics = await open()
    await topics.append({ transactions: transactions(0, 1200) })
    expect(await topics.reader('transactions', 'score').lag()).toBe(1201) // with the mark of the commit
  })
})

describe('a position', () => {
  const removed = (topic: string, offset: bigint) =>
    admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset }] }] })

  test('that there is none of is that of the oldest record', async () => {
    const { open, named } = place()
    const topics = await open()
    await topics.append({ transactions: transactions(0, 6) })
    await removed(named('transactions'), 4n)
    const score = topics.reader('transactions', 'score')
    expect(await score.lag()).toBe(2)
    expect(numbers(await drain(score, 2))).toEqual([4, 5])
  })

  test('that another process is just moving is waited for', async () => {
    const { open, named, group } = place()
    const topics = await open()
    await topics.append({ transactions: transactions(0, 5) })
    const other = await moving(group('score'), named('transactions'), 2n)
    const score = topics.reader('transactions', 'score')
    const read = (): Promise<Batch<Transaction>> => score.read(5, soon()).catch(read)
    const reading = read()
    expect(await Promise.race([reading, sleep(1000)])).toBe(undefined)
    await other.commit()
    expect(numbers((await reading).records)).toEqual([3, 4])
  })

  test('that is gone moves to the oldest record, and it is said', async () => {
    const { open, named, text } = place()
    const topics = await open()
    await topics.append({ transactions: transactions(0, 6) })
    await drain(topics.reader('transactions', 'score'), 2)
    await topics.close()
    await removed(named('transactions'), 5n)
    const again = await open()
    expect(await again.reader('transactions', 'score').lag()).toBe(1)
    expect(numbers(await drain(again.reader('transactions', 'score'), 1))).toEqual([5])
    expect(text()).toBe(
      `score: ${named('transactions')}-0 has no offset 2 any more, it has 5 to 7: records were removed before they were read; going on with the oldest`,
    )
  })

  test('beyond the end of a topic that was made anew moves to its beginning', async () => {
    const { open, named, text } = place()
    const topics = await open()
    await topics.append({ transactions: transactions(0, 6) })
    const score = topics.reader('transactions', 'score')
    await drain(score, 6)
    const reading = score.read(10, soon()).catch(() => score.read(10, soon())) // it may see that the topic is gone
    await admin.deleteTopics({ topics: [named('transactions')] })
    const beside = await waitFor('the topic to be gone', () => open({ worker: false }).catch(() => undefined))
    await beside.append({ transactions: transactions(10, 12) })
    const batch = await reading
    expect(numbers(batch.records)).toEqual([10, 11])
    expect(await score.lag()).toBe(2)
    await batch.commit(2)
    expect(await score.lag()).toBe(0)
    expect(text()).toContain('going on with the oldest')
  })
})

/** A transaction, not ended yet, of another process: it moves the group behind that offset of partition 0. */
async function moving(groupId: string, topic: string, offset: bigint) {
  const transaction = await program({ transactionalId: `program-${runs++}` }).beginTransaction(unknown)
  const consumer = { groupId, memberId: '', generationId: -1, coordinatorId: 0 }
  await transaction.addConsumer(consumer as never)
  await transaction.addOffset({ topic, partition: 0, offset, metadata: { consumer } } as never)
  return transaction
}

describe('trimming', () => {
  const LATER = Date.now() + 8 * DAY
  const letter = (n: number): DeadLetter => ({ stage: 'fetch', at: n, reason: `reason ${n}`, record: { n } })

  test('removes of each partition what every reader has passed there', async () => {
    const { open, named } = place()
    const topics = await open({ partitions: 2 })
    await topics.append({ transactions: transactions(0, 40), predictions: predictions(0, 40) })
    await drain(topics.reader('predictions', 'alert'), 40)
    await drain(topics.reader('predictions', 'record'), 15)
    await topics.trim(LATER, ['webhook', 'shadow'])
    const { first } = await ends(named('predictions'))
    expect(first[0]! + first[1]!).toBeGreaterThan(0)
    expect(first[0]! + first[1]!).toBeLessThanOrEqual(15 + 1) // and a mark
    expect((await ends(named('transactions'))).first).toEqual([0, 0]) // score has not begun
  })

  test('removes dead letters from the oldest on, as far as each was crossed out before then', async () => {
    const { open, named } = place()
    const topics = await open()
    const kept = async () => [...(await openLetters(topics)).keys()]
    const cross = (id: string) => topics.append({ 'dead-letters': [{ retried: id, at: Date.now() }] })
    await topics.append({ 'dead-letters': [letter(0), letter(1), letter(2), letter(3)] })
    const ids = await kept()
    await cross(ids[1]!)
    await topics.trim(LATER)
    expect((await ends(named('dead-letters'))).first).toEqual([0]) // the first one waits for somebody
    const since = Date.now()
    await sleep(20)
    await cross(ids[0]!)
    await topics.trim(since)
    expect((await ends(named('dead-letters'))).first).toEqual([0]) // not yet
    await topics.trim(LATER)
    expect((await ends(named('dead-letters'))).first).toEqual([Number(ids[2])])
    expect(await kept()).toEqual(ids.slice(2))
    await Promise.all(ids.slice(2).map(cross))
    await topics.trim(LATER)
    expect(await Array.fromAsync(topics.scan('dead-letters'))).toEqual([])
    await topics.append({ 'dead-letters': [letter(4)] })
    expect([...(await openLetters(await open())).values()]).toEqual([letter(4)])
  })

  test('does not wait for a process that was killed while it moved its position', async () => {
    const { open, named, group } = place()
    const topics = await open()
    await topics.append({ transactions: transactions(0, 6) })
    await drain(topics.reader('transactions', 'score'), 3)
    await topics.close()
    await using stack = new AsyncDisposableStack()
    stack.adopt(await moving(group('score'), named('transactions'), 4n), (left) => left.abort())
    await (await open()).trim(LATER, ['shadow'])
    expect((await ends(named('transactions'))).first).toEqual([3])
  })

  test('keeps what is young, as another program has dated it', async () => {
    const { open, named } = place()
    const topics = await open()
    const old = BigInt(Date.now() - 8 * DAY)
    await publish(named('transactions'), [rowText(1), rowText(2)], { timestamp: old })
    await publish(named('transactions'), [rowText(3), rowText(4)])
    await drain(topics.reader('transactions', 'score'), 4)
    await topics.trim(Date.now() - 9 * DAY, ['shadow'])
    expect((await ends(named('transactions'))).first).toEqual([0])
    await topics.trim(Date.now() - 7 * DAY, ['shadow'])
    expect((await ends(named('transactions'))).first).toEqual([2])
  })
})

describe('several workers', () => {
  test('share the partitions of score, and each record goes to one of them', async () => {
    const { open } = place()
    const workers = [await open({ partitions: 6 }), await open()]
    const found: number[][] = [[], []]
    const stop = new AbortController()
    const working = workers.map(async (topics, i) => {
      const score = topics.reader('transactions', 'score')
      while (!stop.signal.aborted) {
        try {
          const batch = await score.read(7, stop.signal)
          await batch.commit(batch.records.length, {
            predictions: batch.records.map((t) => ({ ...prediction(0), ...t })),
          })
          found[i]!.push(...numbers(batch.records))
        } catch (error) {
          if (!(error instanceof TakenOver) && !stop.signal.aborted) throw error
          score.rewind()
        }
      }
    })
    let n = 0
    await waitFor(
      'both to have worked',
      async () => {
        await workers[0]!.append({ transactions: transactions(n, n + 20) })
        n += 20
        return found.every((own) => own.length > 30)
      },
      30_000,
    )
    await waitFor('the rest', () => found.flat().length >= n)
    stop.abort()
    await Promise.all(working)
    expect(found.flat().sort((a, b) => a - b)).toEqual(range(0, n))
    expect(numbers(await held(workers[0]!, 'predictions')).sort((a, b) => a - b)).toEqual(range(0, n))
  })

  /** Two workers of which the first has everything; a session so long that nothing is given up in time. */
  async function two(where: Place, topic: 'transactions' | 'predictions', name: 'score' | 'alert') {
    const first = await where.open({ partitions: 2, session: 30_000 })
    const reader = first.reader(topic as 'predictions', name as 'alert')
    if (name === 'score') {
      const whole = reader.read(1, soon())
      await first.append({ transactions: [transaction(1000)] })
      await (await whole).commit(1)
    }
    const told: unknown[] = []
    const second = await where.open({ session: 30_000, standby: (...event) => told.push(event) })
    return { first, second, told, reader, other: second.reader(topic as 'predictions', name as 'alert') }
  }

  test('have one that mails, and the next one takes over at once when it leaves', async () => {
    const where = place()
    const { first, second, told, reader, other } = await two(where, 'predictions', 'alert')
    const mine = candidate(first, 'alert')
    const lease = await mine.term()
    await first.append({ predictions: predictions(0, 4) })
    const next = candidate(second, 'alert')
    await waitFor('the second to stand by', () => where.text().includes('standing by'))
    expect(where.text()).toContain(`another process has its turn as alert; standing by`)
    expect(told).toEqual([['alert', true]])
    expect(numbers(await drain(reader, 3)).length).toBe(3)
    await lease.note({ it: 1 })
    expect([mine.leases.length, next.leases.length, lease.lost.aborted]).toEqual([1, 0, false])
    await first.close()
    const left = performance.now()
    await next.term()
    expect(performance.now() - left).toBeLessThan(20_000) // the session is longer
    expect(where.text()).toContain(`it is this process's turn as alert`)
    expect(told).toEqual([
      ['alert', true],
      ['alert', false],
    ])
    expect((await drain(other, 1)).length).toBe(1)
    expect(next.leases).toHaveLength(1)
    expect(await other.lag()).toBe(0)
  })

  test('have one that fetches, likewise', async () => {
    const { open, text } = place()
    const first = await open({ session: 30_000 })
    const mine = candidate(first, 'fetch')
    await (await mine.term()).note({ fetch: 1 })
    const second = await open({ session: 30_000 })
    const stop = new AbortController()
    const aborted = second.lead('fetch', stop.signal, async () => {}).catch((error) => error)
    await waitFor('the second to stand by', () => text().includes('standing by'))
    stop.abort(new Error('stopped'))
    expect(await aborted).toBe(stop.signal.reason)
    const next = candidate(second, 'fetch')
    await first.append({ transactions: [transaction(1)] })
    expect([mine.leases.length, next.leases.length]).toEqual([1, 0])
    await first.close()
    await next.term()
    expect(await second.noted('fetch')).toBe(1)
    await second.append({ transactions: [transaction(2)] })
    expect(numbers(await held(second, 'transactions'))).toEqual([1, 2])
  })

  test('keep a batch in hand whose partition stays, and hear of one whose partition has gone', async () => {
    const { first, second, reader, other } = await two(place(), 'transactions', 'score')
    await first.append({ transactions: transactions(0, 20) })
    const batches: Batch<Transaction>[] = []
    const seen = new Set<string>()
    while (batches.length < 2) {
      const batch = await reader.read(1, soon())
      const all = await Array.fromAsync(first.scan('transactions'))
      const { id } = all.find(({ record }) => record.trans_num === batch.records[0]!.trans_num)!
      if (!seen.has(id[0]!)) batches.push(batch)
      seen.add(id[0]!)
    }
    await other.read(1, soon()) // one of the two is the second's now
    const outcomes = await Promise.all(
      batches.map((batch) =>
        batch.commit(1, { predictions: [{ ...prediction(0), ...batch.records[0]! }] }).then(
          () => batch.records[0]!.trans_num,
          (error) => error,
        ),
      ),
    )
    const done = outcomes.filter((outcome) => typeof outcome === 'string')
    const refused = outcomes.filter((outcome) => outcome instanceof TakenOver)
    expect([done.length, refused.length]).toEqual([1, 1])
    expect((await held(second, 'predictions')).map(({ trans_num }) => trans_num)).toEqual(done)
    expect(await reader.lag()).toBe(19)
  })

  test('leave a batch in hand alone when another one comes to stand by', async () => {
    const where = place()
    const { first, second, reader } = await two(where, 'predictions', 'alert')
    await first.append({ predictions: predictions(0, 3) })
    const batch = await reader.read(3, soon())
    const standing = candidate(second, 'alert')
    await waitFor('the second to stand by', () => where.text().includes('standing by'))
    await batch.commit(batch.records.length, {}, { alert: 1 })
    expect(await reader.lag()).toBe(3 - batch.records.length)
    await standing.end()
  })
})

describe('logging in', () => {
  const user = 'worker'
  const password = 'p@:/?#%"\\ x'
  const wrong = 'wr0ng:secret'
  const pem = (path: string) => readFileSync(path, 'utf8')
  let locked: Kafka
  beforeAll(async () => {
    locked = await startKafka({ sasl: { user, password }, tls: true })
  }, 5 * MINUTE)
  afterAll(() => locked[Symbol.asyncDispose]())

  type Login = Partial<Pick<KafkaTopicsOptions, 'brokers' | 'tls' | 'sasl' | 'replication'>>
  type Sasl = NonNullable<Login['sasl']>
  const sasl = (mechanism: string, changes: Partial<Sasl> = {}) =>
    ({ mechanism, username: user, password, ...changes }) as Sasl

  test.for(['SCRAM-SHA-512', 'SCRAM-SHA-256', 'PLAIN'])('by %s, over TLS', async (mechanism) => {
    const { open } = place()
    const topics = await open({
      brokers: locked.brokers,
      tls: { ca: pem(locked.tls!.ca) },
      sasl: sasl(mechanism),
    })
    await topics.append({ transactions: [transaction(1)] })
    expect(numbers(await drain(topics.reader('transactions', 'score'), 1))).toEqual([1])
    await candidate(topics, 'fetch').term()
  })

  test('with a certificate as well', async () => {
    const { ca, clientCert: cert, clientKey: key } = locked.tls!
    const tls = { ca: pem(ca), cert: pem(cert), key: pem(key) }
    const topics = await place().open({ brokers: locked.brokers, tls, sasl: sasl('SCRAM-SHA-512') })
    await topics.append({ transactions: [transaction(1)] })
    expect(numbers(await held(topics, 'transactions'))).toEqual([1])
  })

  /** What a process of its own says of each login; it ends by itself, with nothing unhandled. */
  async function attempts(logins: Login[]): Promise<string[]> {
    const program = `
      import { kafkaTopics } from '${join(import.meta.dirname, '../../src/engines/kafka/topics.ts')}'
      import { reason } from '${join(import.meta.dirname, '../../src/io/errors.ts')}'
      const log = { warn: console.error, error: console.error, info() {} }
      const attempt = (login) =>
        kafkaTopics({ log, worker: true, prefix: 'login-', ...login }).then((topics) => topics.close(), reason)
      console.log(JSON.stringify(await Promise.all(JSON.parse(process.argv[1]).map(attempt))))
    `
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, '--', JSON.stringify(logins)])
    onTestFinished(() => void child.kill('SIGKILL'))
    const [said, complaint, [code]] = await Promise.all([
      whole(child.stdout),
      whole(child.stderr),
      once(child, 'close') as Promise<[number]>,
    ])
    expect([code, complaint]).toEqual([0, ''])
    return JSON.parse(said)
  }

  test('in vain says in a line what is wrong, soon, without a password, and leaves nothing behind', async () => {
    const { brokers } = locked
    const [ca, other] = [pem(locked.tls!.ca), pem(locked.tls!.otherCa)]
    const silent = createServer(() => {})
    await once(silent.listen(0, '127.0.0.1'), 'listening')
    onTestFinished(() => void silent.close())
    const mute = `127.0.0.1:${(silent.address() as AddressInfo).port}`
    const hint = {
      login: '(look at KAFKA_USERNAME and KAFKA_PASSWORD)',
      closed: 'Connection closed (it may want TLS, kafka+ssl://…, or a login, KAFKA_USERNAME)',
      authority: expect.stringMatching(
        /: unable to verify the first certificate.*\(look at KAFKA_CA, KAFKA_CERT and KAFKA_KEY\)$/,
      ),
    }
    const scram =
      'SASL_AUTHENTICATION_FAILED: Authentication failed during authentication due to invalid credentials with SASL mechanism'
    const cases: [Login, unknown][] = [
      [{ tls: { ca }, sasl: sasl('SCRAM-SHA-512', { password: wrong }) }, `${scram} SCRAM-SHA-512 ${hint.login}`],
      [{ tls: { ca }, sasl: sasl('SCRAM-SHA-256', { username: 'nobody' }) }, `${scram} SCRAM-SHA-256 ${hint.login}`],
      [
        { tls: { ca }, sasl: sasl('PLAIN', { password: wrong }) },
        `SASL_AUTHENTICATION_FAILED: Authentication failed: Invalid username or password ${hint.login}`,
      ],
      [{ tls: { ca } }, hint.closed],
      [{ tls: { ca: other }, sasl: sasl('SCRAM-SHA-512') }, hint.authority],
      [{ tls: {}, sasl: sasl('SCRAM-SHA-512') }, hint.authority],
      [
        { tls: { ca, cert: other, key: pem(locked.tls!.clientKey) } },
        expect.stringContaining('key values mismatch (look at KAFKA_CA'),
      ],
      [{}, 'Broker requires TLS (it wants kafka+ssl://…)'],
      [{ sasl: sasl('SCRAM-SHA-512') }, hint.closed],
      [
        { brokers: kafka.brokers, tls: { ca } },
        'Client network socket disconnected before secure TLS connection was established (it may speak no TLS: look at the port)',
      ],
      [
        { brokers: kafka.brokers, sasl: sasl('SCRAM-SHA-512') },
        'ILLEGAL_SASL_STATE (nobody logs in there: look at the port, and KAFKA_USERNAME)',
      ],
      [
        { brokers: ['127.0.0.1:1', '127.0.0.1:2'] },
        'connect ECONNREFUSED 127.0.0.1:1; connect ECONNREFUSED 127.0.0.1:2',
      ],
      [{ brokers: ['nobody.invalid:9092'] }, expect.stringMatching(/: getaddrinfo E\w+ nobody\.invalid$/)],
      [{ brokers: [mute] }, 'no answer for 15 s'],
      [{ brokers: [mute], tls: { ca } }, 'no answer for 15 s'],
      [
        { brokers: kafka.brokers, replication: 3 },
        expect.stringContaining('INVALID_REPLICATION_FACTOR: Unable to replicate the partition 3 time(s)'),
      ],
    ]
    const logins = cases.map(([login]) => ({ brokers, ...login }))
    const began = performance.now()
    const said = await attempts(logins)
    expect(performance.now() - began).toBeLessThan(45_000)
    expect(said).toEqual(
      cases.map(([, wanted], i) =>
        typeof wanted === 'string' ? `cannot work with Kafka at ${logins[i]!.brokers.join()}: ${wanted}` : wanted,
      ),
    )
    for (const line of said) {
      expect(line).toMatch(/^cannot work with Kafka at \S+: .+$/)
      expect(line).not.toContain(wrong)
      expect(line).not.toContain(password)
    }
  })
})
