import { randomUUID } from 'node:crypto'
import { ConfigResourceTypes, ConfigSources, IncrementalAlterConfigOperationTypes } from '@platformatic/kafka'
import type { Logger } from 'pino'
import { DAY } from '../../io/time.ts'
import {
  type Lease,
  type LeaseName,
  type Notes,
  type ReaderName,
  type Standby,
  type TopicName,
  type Topics,
  termAfterTerm,
  type Writes,
} from '../../topic/topic.ts'
import { type Kafka, type KafkaOptions, openKafka } from './client.ts'
import { everywhere, type Named, openMessages, toEntry } from './codec.ts'
import { saysBroker, within } from './errors.ts'
import { kafkaFetcher } from './fetcher.ts'
import { snapshotOf } from './lag.ts'
import { type Owned, openMember } from './member.ts'
import { openNotes } from './notes.ts'
import { type KafkaReader, kafkaReader } from './reader.ts'
import { trim } from './trim.ts'

/** What only one process may do at a time, as it counts or remembers over all of them. */
const ALONE = ['alert', 'webhook', 'fetch', 'shadow']
/** ms without a record while there are some, after which a reader starts over */
const STUCK = 60_000
/** bytes of a record that our topics take: of a body of 64 MiB, compressed, and less than the 100 MiB of a request */
const LARGEST = 100_000_000

export type KafkaTopicsOptions = KafkaOptions & {
  log: Logger
  /** A worker looks at how the topics are set up; a command beside it does not. */
  worker: boolean
  prefix?: string | undefined
  partitions?: number
  /** undefined: as the brokers are set up */
  replication?: number | undefined
  standby?: Standby | undefined
  /** ms, for tests */
  session?: number
  stuck?: number
}

/**
 * Topics in Kafka. A card's records are in one partition, and so in order; partitions are shared out among the processes
 * of a reader. Each append and commit is one Kafka transaction, each reader a consumer group. Every record is read once
 * its transaction is committed, and the position moves in the same transaction as what the work has produced.
 */
export async function kafkaTopics({
  log,
  worker,
  prefix = '',
  partitions = 6,
  replication,
  standby,
  session,
  stuck = STUCK,
  ...cluster
}: KafkaTopicsOptions): Promise<Topics> {
  const kafka = openKafka(cluster, log)
  const named: Named = (topic) => `${prefix}${topic}`
  const group = (name: string) => `${prefix}client-predict-${name}`
  const members = new Map<string, { close(): Promise<unknown> }>()
  let slowSaid = Number.NEGATIVE_INFINITY
  let appender = kafka.writer(group(randomUUID()))
  try {
    await kafka.named(createTopics(kafka, { named, partitions, replication }))
    if (worker) await within(lookAt(kafka, everywhere(named), log)).catch(() => {}) // may be forbidden
  } catch (error) {
    await kafka.close()
    throw error
  }

  const messages = openMessages({ named, log })
  async function append(writes: Writes, notes: Notes = {}) {
    const all = messages(writes, notes)
    if (all.length > 0) await kafka.named(appender.write(all))
  }

  /** Said once for all readers that join at the same time. */
  function slow(session: number) {
    if (performance.now() - slowSaid > 60_000)
      log.info(`joining the other processes; if one was killed just now, it is given up after ${session / 1000} s`)
    slowSaid = performance.now()
  }
  /** Joins under this name; a member that this process had under it before leaves. */
  function join<P extends Owned>(name: ReaderName | LeaseName, topic: string, make: (partition: number) => P) {
    void members.get(name)?.close()
    const alone = ALONE.includes(name)
    const member = openMember(kafka, { name, group: group(name), topic, alone, log, standby, slow, session }, make)
    members.set(name, member)
    return member
  }

  /**
   * Whose turn it is now is to read all that was noted before: a broker that stood still may have less. What is written
   * reaches only one that has everything, and what is read here reaches at least to what was written here.
   */
  async function catchUp(name: string) {
    if (ALONE.includes(name)) await append({}, { turn: null })
  }
  const shared = { kafka, log, named, group, join, messages, session, stuck, catchUp }

  const readers = new Map<string, Pick<KafkaReader<unknown>, 'begin'>>() // the last of each name
  function reader<T extends TopicName>(topic: T, name: ReaderName) {
    const made = kafkaReader(shared, topic, name)
    readers.set(name, made)
    return made
  }
  const appendBy = (writer: typeof appender) => {
    appender.close()
    appender = writer
    return append
  }
  const beginFetching = kafkaFetcher(shared, appendBy)
  const lead = (name: LeaseName, stop: AbortSignal, work: (lease: Lease) => Promise<void>) =>
    termAfterTerm(stop, work, () =>
      name === 'fetch' ? beginFetching(stop) : (readers.get(name) ?? reader('predictions', name)).begin(stop),
    )

  return {
    append,
    reader,
    lead,
    async *scan(topic) {
      const extents = await kafka.named(kafka.extents(named(topic)))
      for await (const committed of kafka.scan(named(topic), extents)) {
        const { record } = toEntry(topic, committed)
        const { partition, offset } = committed
        if (record) yield { id: extents.length > 1 ? `${partition}-${offset}` : String(offset), record }
      }
    },
    state: openNotes(kafka, named('notes')),
    snapshot: () => kafka.named(snapshotOf(kafka, named, group)),
    trim: (before, unused = []) => within(trim(shared, before, unused)),
    async close() {
      const left = [...members.values()].map((member) => member.close())
      await Promise.allSettled([...left, kafka.close()])
    },
  }
}

async function createTopics(
  kafka: Kafka,
  { named, partitions, replication }: { named: Named; partitions: number; replication?: number | undefined },
) {
  const keep = { name: 'retention.ms', value: '-1' } // what nobody has read stays; the worker removes what everybody has
  const last = [
    { name: 'cleanup.policy', value: 'compact' },
    { name: 'segment.ms', value: '3600000' }, // what is in the newest segment is not compacted
  ]
  const safe = (replication ?? 0) > 2 ? [{ name: 'min.insync.replicas', value: '2' }] : []
  const wanted = [
    { topic: named('transactions'), partitions, configs: [keep, ...safe] },
    { topic: named('predictions'), partitions, configs: [keep, ...safe] },
    { topic: named('dead-letters'), partitions: 1, configs: [keep, ...safe] },
    { topic: named('notes'), partitions: 1, configs: [...last, ...safe] },
  ]
  const large = { name: 'max.message.bytes', value: String(LARGEST) }
  const there = new Set(await within(kafka.admin.listTopics()))
  for (const { topic, partitions, configs } of wanted.filter(({ topic }) => !there.has(topic))) {
    const create = (...more: typeof configs) =>
      within(
        kafka.admin.createTopics({
          topics: [topic],
          partitions,
          replicas: replication ?? -1,
          configs: [...configs, ...more],
        }),
      )
    await create(large)
      .catch((error) => {
        if (!saysBroker(error, 'INVALID_CONFIG', 'POLICY_VIOLATION')) throw error
        return create() // so large it may not be: the worker says what that means
      })
      .catch((error) => {
        if (!saysBroker(error, 'TOPIC_ALREADY_EXISTS')) throw error
      })
  }
  for (const { topic } of wanted) await kafka.extents(topic) // resolves when every partition has a leader
}

/** Topics that somebody else made, or an earlier version, may forget by time alone, or take no large record. */
async function lookAt(kafka: Kafka, topics: string[], log: Logger) {
  const found = await kafka.admin.describeConfigs({
    resources: topics.map((resourceName) => ({
      resourceType: ConfigResourceTypes.TOPIC,
      resourceName,
      configurationKeys: ['cleanup.policy', 'retention.ms', 'max.message.bytes'],
    })),
  })
  for (const { resourceName, configs } of found) {
    const config = (wanted: string) => configs.find(({ name }) => name === wanted)
    const ms = Number(config('retention.ms')?.value ?? -1)
    if (ms >= 0 && config('cleanup.policy')?.value !== 'compact')
      log.warn(
        `the Kafka topic ${resourceName} forgets after ${(ms / DAY).toFixed(1)} days what nobody has read by then; set its retention.ms to -1: client-predict removes what every reader has passed`,
      )
    const { value, configSource } = config('max.message.bytes') ?? {}
    if (Number(value ?? LARGEST) >= LARGEST) continue
    const chosen = configSource === ConfigSources.DYNAMIC_TOPIC_CONFIG // by somebody, for this topic
    if (!chosen && (await raised(kafka, resourceName))) continue
    log.warn(
      `the Kafka topic ${resourceName} takes no record of more than ${value} bytes: of a larger one only the beginning is kept, in dead-letters; set its max.message.bytes to ${LARGEST}`,
    )
  }
}
const raised = (kafka: Kafka, resourceName: string) =>
  within(
    kafka.admin.incrementalAlterConfigs({
      resources: [
        {
          resourceType: ConfigResourceTypes.TOPIC,
          resourceName,
          configs: [
            {
              name: 'max.message.bytes',
              configOperation: IncrementalAlterConfigOperationTypes.SET,
              value: String(LARGEST),
            },
          ],
        },
      ],
    }),
  ).then(
    () => true,
    () => false,
  )
