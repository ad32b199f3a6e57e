import { randomUUID } from 'node:crypto'
import {
  Admin,
  type BaseOptions,
  Consumer,
  type ConsumerOptions,
  ProduceAcks,
  Producer,
  parseBroker,
} from '@platformatic/kafka'
import type { Logger } from 'pino'
import { explained } from './errors.ts'
import type { GroupConsumer } from './group.ts'
import { openReads } from './reads.ts'
import { askInTurn } from './workarounds.ts'
import { openWriter } from './writer.ts'

/** ms until a connection has to stand */
const CONNECT_WITHIN = 5000
/** ms until an answer has to be here, so that a broker that is frozen, or cut off, is noticed */
const ANSWER_WITHIN = 10_000
/** ms after which the brokers abort a transaction whose producer has fallen silent, and let readers go on */
const TRANSACTION_WITHIN = 10_000
/** more attempts at a request, after pauses of 20 ms, 40 ms, … 640 ms: some 1.3 s in all where somebody answers */
const RETRIES = 6
/** ms that closing waits for answers */
const CLOSE_WITHIN = 2000
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
export type Kafka = ReturnType<typeof openKafka>

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
    askInTurn(client, order)
    return client
  }
  const admin = open(new Admin(base()))

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
  const reads = openReads({ admin, consumer, named, closing: closing.signal })
  const writing = {
    where,
    open: (transactionalId: string) =>
      open(
        new Producer<Buffer, Buffer, Buffer, Buffer>({
          ...base(),
          idempotent: true,
          acks: ProduceAcks.ALL,
          transactionalId,
        }),
      ),
    scan: reads.scan,
    positions: reads.positions,
    latest: reads.latest,
    closing: closing.signal,
    log,
  }
  return {
    where,
    admin,
    named,
    consumer,
    ...reads,
    writer: (name: string) => openWriter(writing, name),
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
