import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  Admin,
  type BaseOptions,
  type Broker,
  type CallbackWithPromise,
  type Connection,
  Consumer,
  type ConsumerOptions,
  FetchIsolationLevels,
  findErrorBy,
  IS_CONTROL,
  IS_TRANSACTIONAL,
  type KafkaRecord,
  kGetBootstrapConnection,
  type MessageToProduce,
  ProduceAcks,
  Producer,
  parseBroker,
} from '@platformatic/kafka'
import type { Logger } from 'pino'
import { type GroupConsumer, type Membership, movePositions, type Position, type Term } from './kafka-group.ts'
import { backoff, seconds } from './stage.ts'

/** ms until a connection has to stand */
const CONNECT_WITHIN = 5000
/** ms until an answer has to be here, so that a broker that is frozen, or cut off, is noticed */
const ANSWER_WITHIN = 10_000
/** ms after which the brokers abort a transaction whose producer has fallen silent, and let readers go on */
const TRANSACTION_WITHIN = 10_000
/** more attempts at a request, after pauses of 20 ms, 40 ms, … 640 ms: some 1.3 s in all where somebody answers */
const RETRIES = 6
/** ms without an answer after which it counts as a failure; the library would try for minutes */
const GIVE_UP = 15_000
/** ms that closing waits for answers */
const CLOSE_WITHIN = 2000
/** bytes of the records in one request; a broker refuses more than 1 MiB unless told otherwise */
const REQUEST_BYTES = 700_000
/** bytes that one fetch takes of a partition, and of all of them; a larger record comes alone */
const FETCH_BYTES = 1_048_576
const FETCH_BYTES_IN_ALL = 8_388_608
/**
 * READ_COMMITTED, but as text: the library sorts aborted records out itself only when it is the number, and then drops
 * committed ones too, if a later abort of the same producer had no records.
 */
const COMMITTED = String(FetchIsolationLevels.READ_COMMITTED) as never
/** the mark of an aborted transaction (ControlRecordType in Kafka's source) */
const ABORT = 0

export type KafkaOptions = {
  brokers: string[]
  /** undefined: no TLS */
  tls?:
    | {
        ca?: string | undefined
        cert?: string | undefined
        key?: string | undefined
        checkServerIdentity?: () => undefined
      }
    | undefined
  sasl?: { mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'; username: string; password: string } | undefined
}
type Client = Admin | GroupConsumer | Producer<Buffer, Buffer, Buffer, Buffer>
export type Message = MessageToProduce<Buffer, Buffer, Buffer, Buffer>
export type Committed = { offset: bigint; timestamp: number; record: KafkaRecord }
type FetchedPartition = Awaited<ReturnType<Consumer['fetch']>>['responses'][number]['partitions'][number]
/** Records of a partition, `end` left out. */
type Stretch = { partition: number; start: bigint; end: bigint }
/** From where to where the records of a partition reach: up to `end` they are committed or aborted. `term`: who says so. */
export type Extent = Stretch & { term: Term }
/** Positions of a group that move together with what is written, while the partitions are this member's. */
export type Positions = {
  by: Membership
  topic: string
  next: Position[]
  /** Are they there? Asked when it is over, and nobody knows how it ended. */
  reached(): Promise<boolean>
}
export type Kafka = ReturnType<typeof openKafka>

/** What to look at, where that cannot be seen from what was said. */
const HINTS: [RegExp, string][] = [
  [/^SASL_AUTHENTICATION_FAILED/, 'look at KAFKA_USERNAME and KAFKA_PASSWORD'],
  [/^UNSUPPORTED_SASL_MECHANISM/, 'look at KAFKA_MECHANISM'],
  [/^ILLEGAL_SASL_STATE/, 'nobody logs in there: look at the port, and KAFKA_USERNAME'],
  [/^Connection closed/, 'it may want TLS, kafka+ssl://…, or a login, KAFKA_USERNAME'],
  [/^Broker requires TLS/, 'it wants kafka+ssl://…'],
  [/before secure TLS connection/, 'it may speak no TLS: look at the port'],
  [
    /^(COORDINATOR_|NOT_COORDINATOR|NOT_LEADER|LEADER_NOT|CONCURRENT_TRANS|UNSTABLE_OFFSET|NOT_ENOUGH_REPLICAS|UNKNOWN_TOPIC)/,
    'the brokers are starting, or too few of them are up',
  ],
  [
    /^(ILLEGAL_GENERATION|UNKNOWN_MEMBER|REBALANCE_IN|INVALID_PRODUCER_EPOCH|PRODUCER_FENCED)/,
    'the processes are sharing out the work anew',
  ],
  [/certificate/, 'look at KAFKA_CA, KAFKA_CERT and KAFKA_KEY'],
]

/** What went wrong, in a line: the library tells of failed attempts, and hides why they failed. */
export function explained(error: unknown): Error {
  const said = new Set<string>()
  const collect = (e: unknown) => {
    if (e instanceof AggregateError) e.errors.forEach(collect)
    else if (e instanceof Error && e.cause) collect(e.cause)
    else said.add(words(e))
  }
  collect(error)
  const all = [...said]
  const hint = all.length === 1 && HINTS.find(([pattern]) => pattern.test(all[0]!))?.[1]
  return new Error(hint ? `${all[0]} (${hint})` : all.join('; '))
}
function words(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { apiId, serverErrorMessage, code } = error as {
    apiId?: string
    serverErrorMessage?: string | null
    code?: string
  }
  if (apiId) return serverErrorMessage ? `${apiId}: ${serverErrorMessage}` : apiId
  return error.message.replace(/\.$/, '') || String(code)
}

/** The broker's name for the error, if one of the errors has it. */
export const saysBroker = (error: unknown, ...names: string[]) =>
  names.some((apiId) => findErrorBy(error as Error, 'apiId', apiId) !== null)

/**
 * A Kafka cluster, as the topics need it: exactly the records of committed transactions are read, and what is written is
 * written in transactions. Errors name the brokers.
 */
export function openKafka({ brokers, tls, sasl }: KafkaOptions, log: Logger) {
  const where = `Kafka at ${brokers.join(',')}`
  const base = (): BaseOptions => ({
    clientId: `client-predict-${randomUUID()}`, // the library shares nothing between clients
    bootstrapBrokers: brokers,
    connectTimeout: CONNECT_WITHIN,
    requestTimeout: ANSWER_WITHIN,
    timeout: TRANSACTION_WITHIN,
    retries: RETRIES,
    retryDelay: (_client, _operation, attempt) => 10 * 2 ** attempt,
    ...(tls && { tls: tls as object }),
    ...(sasl && { sasl }),
  })
  const clients = new Set<Client>() // that are open
  const order = brokers.map((broker) => parseBroker(broker)) // in which they are asked where everything is
  const closing = new AbortController()
  function open<C extends Client>(client: C): C {
    closing.signal.throwIfAborted()
    clients.add(client)
    client.once('client:close', () => clients.delete(client))
    // The library asks the first of its list again and again, and waits each time: who fell silent is to be the last.
    Object.assign(client, {
      [kGetBootstrapConnection]: (done: CallbackWithPromise<Connection>) =>
        client.connections.getFirstAvailable([...order, ...(client.currentMetadata?.brokers.values() ?? [])], done),
    })
    const demote = ({ broker }: { broker?: Broker }) => {
      const i = order.findIndex(({ host, port }) => host === broker?.host && port === broker?.port)
      if (i >= 0 && !client.closed) order.push(...order.splice(i, 1))
    }
    client.on('client:broker:failed', demote)
    client.on('client:broker:disconnect', demote)
    return client
  }
  const admin = open(new Admin(base()))
  const latest = new Map<string, bigint>() // offset written last, by topic and partition
  const lookers: GroupConsumer[] = [] // that nobody uses just now

  async function named<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      throw Object.assign(new Error(`cannot work with ${where}`, { cause: explained(error) }), { kafka: error })
    }
  }

  function consumer(options: Partial<ConsumerOptions<Buffer, Buffer, Buffer, Buffer>> & { groupId: string }) {
    const made = new Consumer<Buffer, Buffer, Buffer, Buffer>({ ...base(), autocommit: false, ...options })
    made.on('error', () => {}) // the requests tell
    return open(made)
  }
  /** Reads without a group, over connections of its own. */
  function looker(topic: string): GroupConsumer {
    const made = lookers.pop() ?? consumer({ groupId: 'nobody' })
    made.topics.track(topic)
    return made
  }

  /** One fetch of committed records from each of these partitions, at most `wait` ms; to be called one after the other. */
  async function fetch(
    by: GroupConsumer,
    topic: string,
    from: readonly Position[],
    { node, wait }: { node: number; wait: number },
  ) {
    const { id, partitions: known } = (await within(by.metadata({ topics: [topic] }))).topics.get(topic)!
    const since = (term?: Term) => (term?.topicId === id ? term.epoch : -1)
    const { responses } = await within(
      by.fetch({
        node,
        maxWaitTime: wait,
        minBytes: 1,
        maxBytes: FETCH_BYTES_IN_ALL,
        isolationLevel: COMMITTED,
        topics: [
          {
            topicId: id,
            partitions: from.map(({ partition, offset, term }) => ({
              partition,
              fetchOffset: offset,
              currentLeaderEpoch: Math.max(known[partition]!.leaderEpoch, since(term)), // who stood still refuses it
              lastFetchedEpoch: -1,
              partitionMaxBytes: FETCH_BYTES,
            })),
          },
        ],
      }),
    )
    return new Map(
      responses.flatMap(({ partitions }) =>
        partitions.map((found) => {
          const at = from.find(({ partition }) => partition === found.partitionIndex)
          const epochs = (found.records ?? []).map(({ partitionLeaderEpoch }) => partitionLeaderEpoch)
          const term = { topicId: id, epoch: Math.max(since(at?.term), ...epochs) }
          return [found.partitionIndex, { ...committed(found, at?.offset ?? 0n), term }] as const
        }),
      ),
    )
  }

  /** The node that leads each partition of a topic, as far as this client knows. */
  async function leaders(by: Admin | GroupConsumer, topic: string): Promise<number[]> {
    const { topics } = await within(by.metadata({ topics: [topic] }))
    return topics.get(topic)!.partitions.map(({ leader }) => leader)
  }

  /**
   * What is readable of each partition. Waits for what was written here last: its commit may not have got around yet, or
   * a broker that stood still is asked. With `whole` nothing less will do.
   */
  async function extents(topic: string, { whole = false } = {}): Promise<Extent[]> {
    for (let tries = 1; ; tries++) {
      const found = await ends(topic)
      const missing = found.filter(({ partition, end }) => end <= (latest.get(`${topic}-${partition}`) ?? -1n))
      if (missing.length === 0) return found
      if (tries === 40) {
        // After some 4 s: the topic has been made anew, or somebody blocks it.
        if (whole) throw new Error(`what was written to ${topic} last cannot be read yet`)
        for (const { partition } of missing) latest.delete(`${topic}-${partition}`)
        return found
      }
      await sleep(Math.min(5 * tries, 200))
    }
  }
  /** Where each partition begins and ends; with `unfinished`, transactions that are under way count too. */
  async function ends(topic: string, { unfinished = false } = {}): Promise<Extent[]> {
    const { READ_COMMITTED, READ_UNCOMMITTED } = FetchIsolationLevels
    const all = [...(await leaders(admin, topic)).keys()]
    const ask = async (timestamp: bigint) => {
      const partitions = all.map((partitionIndex) => ({ partitionIndex, timestamp }))
      const isolationLevel = unfinished ? READ_UNCOMMITTED : READ_COMMITTED
      const [answer] = await within(admin.listOffsets({ topics: [{ name: topic, partitions }], isolationLevel }))
      return new Map(answer?.partitions.map((found) => [found.partitionIndex, found]))
    }
    const [starts, ends] = [await ask(-2n), await ask(-1n)]
    const topicId = (await within(admin.metadata({ topics: [topic] }))).topics.get(topic)!.id
    return all.map((partition) => {
      const [start, end] = [starts.get(partition), ends.get(partition)]
      const term = { topicId, epoch: end?.leaderEpoch ?? -1 }
      return { partition, start: start?.offset ?? 0n, end: end?.offset ?? 0n, term }
    })
  }

  /** Every committed record of these extents, partition by partition. */
  async function* scan(topic: string, parts: readonly Stretch[]): AsyncGenerator<Committed & { partition: number }> {
    const by = looker(topic)
    let sound = true
    try {
      for (const { partition, start, end } of parts) {
        for (let offset = start; offset < end; ) {
          sound = false
          const node = (await named(leaders(by, topic)))[partition]!
          const found = (await named(fetch(by, topic, [{ partition, offset }], { node, wait: 100 }))).get(partition)
          sound = true
          for (const record of found?.records ?? []) if (record.offset < end) yield { partition, ...record }
          offset = found?.next ?? offset
        }
      }
    } finally {
      by.topics.untrack(topic)
      if (sound && !closing.signal.aborted) lookers.push(by)
      else discard(by)
    }
  }

  /**
   * Where a group goes on, by partition; undefined where it has not begun. For figures: a broker that stood still may be
   * behind for a moment, and with `stable: false` commits that are under way are not waited for.
   */
  async function positions(
    groupId: string,
    topic: string,
    partitions: number[],
    { stable = true } = {},
  ): Promise<Map<number, bigint>> {
    const [group] = await within(
      admin.listConsumerGroupOffsets({
        groups: [{ groupId, topics: [{ name: topic, partitionIndexes: partitions }] }],
        requireStable: stable,
      }),
    )
    const found = group?.topics.find(({ name }) => name === topic)?.partitions ?? []
    return new Map(
      found
        .filter(({ committedOffset }) => committedOffset >= 0n)
        .map(({ partitionIndex, committedOffset }) => [partitionIndex, committedOffset]),
    )
  }

  /**
   * Writes under one name, one transaction after the other. A second writer of the same name, in any process, ends what
   * the first was writing: nothing of it will ever be read.
   */
  function writer(name: string) {
    let producer: Producer<Buffer, Buffer, Buffer, Buffer> | undefined
    let last: Promise<unknown> = Promise.resolve()

    async function begin() {
      producer ??= open(
        new Producer<Buffer, Buffer, Buffer, Buffer>({
          ...base(),
          idempotent: true,
          acks: ProduceAcks.ALL,
          transactionalId: name,
        }),
      )
      // -1: whoever had the name before; the library would ask for producer 0, and be told that it is another's
      return producer.beginTransaction({ producerId: -1n, producerEpoch: -1 } as never)
    }
    /** What is unfinished under the name is aborted, and will stay so. */
    async function fence() {
      try {
        await within(begin().then((transaction) => transaction.cancel()))
      } catch (error) {
        drop()
        throw error
      }
    }
    function drop() {
      if (producer) discard(producer)
      producer = undefined
    }

    async function write(messages: readonly Message[], positions?: Positions): Promise<void> {
      const written: { topic: string; partition: number; offset: bigint }[] = []
      let committing = false
      const prepare = async () => {
        const transaction = await begin()
        try {
          for (const part of parted(messages)) {
            const { offsets = [] } = await transaction.send({ messages: part, acks: ProduceAcks.ALL })
            written.push(...offsets)
          }
          if (positions) {
            const { by, topic, next } = positions
            await transaction.addConsumer(by.consumer)
            await movePositions(producer!, name, by, topic, next)
          }
          return transaction
        } catch (error) {
          await transaction.abort().catch(() => {}) // or the brokers do, when its time is over
          throw error
        }
      }
      try {
        const transaction = await within(prepare())
        committing = true
        await within(transaction.commit())
      } catch (error) {
        drop()
        if (!committing || !(await done(written, positions))) throw error
      }
      for (const { topic, partition, offset } of written) latest.set(`${topic}-${partition}`, offset)
    }

    /** Nobody knows whether the last commit was heard. When the name is taken anew it is over, one way or the other. */
    async function done(
      written: { topic: string; partition: number; offset: bigint }[],
      moved?: Positions,
    ): Promise<boolean> {
      for (let failures = 1; ; failures++) {
        try {
          await fence()
          const [first] = written
          if (first) {
            const { topic, partition, offset: start } = first
            for await (const _ of scan(topic, [{ partition, start, end: start + 1n }])) return true
            return false
          }
          return await moved!.reached()
        } catch (error) {
          const wait = backoff(failures)
          if (failures > 1)
            log.warn(
              `did ${where} do the last commit? ${explained(error).message}; nothing is repeated before that is known; asking again in ${seconds(wait)} s`,
            )
          await sleep(wait, undefined, { signal: closing.signal })
        }
      }
    }

    return {
      /** Resolves once all of it is durable; rejects only when nothing of it is, or when closed before that is known. */
      write(messages: readonly Message[], positions?: Positions): Promise<void> {
        const written = last.then(() => write(messages, positions))
        last = written.catch(() => {})
        return written
      },
      fence,
      close: drop,
    }
  }
  return {
    where,
    admin,
    named,
    consumer,
    looker,
    fetch,
    leaders,
    extents,
    ends,
    scan,
    positions,
    writer,
    /** Ends what is under way. Does not wait for brokers that are silent. */
    async close() {
      closing.abort(new Error('the topics are closed'))
      const connections = Array.from(clients).flatMap((client) => [...client.connections])
      setTimeout(() => {
        for (const [, { socket }] of connections) socket?.destroy()
      }, CLOSE_WITHIN).unref()
      await Promise.allSettled(Array.from(clients, (client) => client.close()))
    },
  }
}

/** Closes a client that may have lost its broker, and does not wait for it. */
export function discard(client: Client) {
  client.close().catch(() => {})
}

/** Rejects when there is no answer in time; the work may go on. */
export async function within<T>(work: Promise<T>): Promise<T> {
  work.catch(() => {})
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`no answer for ${GIVE_UP / 1000} s`)), GIVE_UP)
  return Promise.race([work, late.promise]).finally(() => clearTimeout(timer))
}

/** The records of a fetch that count: not those of aborted transactions, nor the marks of how one ended. */
function committed(part: FetchedPartition, from: bigint): { records: Committed[]; next: bigint; end: bigint } {
  // The library leaves records in when two transactions of a producer were aborted, or the mark is in the next fetch.
  const aborted = [...(part.abortedTransactions ?? [])].sort((a, b) => Number(a.firstOffset - b.firstOffset))
  const within = new Set<bigint>() // producers in the middle of an aborted transaction
  const records: Committed[] = []
  let next = from
  for (const batch of part.records ?? []) {
    const last = batch.firstOffset + BigInt(batch.lastOffsetDelta)
    while (aborted[0] && aborted[0].firstOffset <= last) within.add(aborted.shift()!.producerId)
    if (batch.attributes & IS_CONTROL) {
      if (batch.records[0]?.key?.readInt16BE(2) === ABORT) within.delete(batch.producerId)
    } else if (!(batch.attributes & IS_TRANSACTIONAL && within.has(batch.producerId))) {
      for (const record of batch.records) {
        const offset = batch.firstOffset + BigInt(record.offsetDelta)
        const timestamp = Number(batch.firstTimestamp + record.timestampDelta)
        if (offset >= from) records.push({ offset, timestamp, record }) // a batch may begin earlier
      }
    }
    if (last >= next) next = last + 1n
  }
  return { records, next, end: part.lastStableOffset }
}

/** In parts that fit into a request. */
function* parted(messages: readonly Message[]): Generator<Message[]> {
  let part: Message[] = []
  let bytes = 0
  for (const message of messages) {
    const size = (message.value?.length ?? 0) + 100
    if (bytes + size > REQUEST_BYTES && part.length > 0) {
      yield part
      part = []
      bytes = 0
    }
    part.push(message)
    bytes += size
  }
  if (part.length > 0) yield part
}
