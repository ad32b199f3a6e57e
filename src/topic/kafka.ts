import { createHash, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { parse, stringify } from '../json.ts'
import {
  type Committed,
  discard,
  type Extent,
  type GroupConsumer,
  type Kafka,
  type KafkaOptions,
  type Message,
  openKafka,
  saysBroker,
  within,
} from '../kafka.ts'
import { orAborted } from '../stage.ts'
import { type DeadLetter, type Transaction, toTransaction } from '../transaction.ts'
import { openMember } from './kafka-member.ts'
import {
  type Batch,
  decode,
  type Notes,
  READERS,
  type Reader,
  type Records,
  TakenOver,
  type TopicName,
  type Topics,
  type Turn,
  type Writes,
} from './topic.ts'

const TOPICS = Object.keys(READERS) as TopicName[]
/** What only one process may do at a time, as it counts or remembers over all of them. */
const ALONE = ['alert', 'fetch']
const DAY = 86_400_000
const CLEAN_EVERY = 600_000
/** ms that a broker may wait for new records before it answers that there are none */
const FETCH_WAIT = 500
/** Up to so many records the lag is counted; beyond, the marks of transactions count too. */
const COUNTED = 1000
/** ms without a record while there are some, after which a reader starts over */
const STUCK = 60_000
/** What a broker says of a commit while a rebalance is on its way, or when another process has the writer's name. */
const REBALANCING = [
  'ILLEGAL_GENERATION',
  'UNKNOWN_MEMBER_ID',
  'REBALANCE_IN_PROGRESS',
  'INVALID_PRODUCER_EPOCH',
  'PRODUCER_FENCED',
]
/** bytes that a record may have; brokers take 1 MiB with what goes around it, unless told otherwise */
const LARGEST = 1_000_000
/** characters of a message that are kept in dead-letters */
const KEPT = 65_536
/** On each record of ours: it needs no proof. */
const OURS = 'client-predict'

export type KafkaTopicsOptions = KafkaOptions & {
  log: Logger
  /** A worker removes what is old; a command beside it does not. */
  worker: boolean
  prefix?: string | undefined
  partitions?: number
  /** undefined: as the brokers are set up */
  replication?: number | undefined
  retentionDays?: number
  now?: () => number
  /** ms, for tests */
  session?: number
  stuck?: number
}

/** A record of a topic, or what cannot be one, with the reason. */
type Entry<T> = { offset: bigint; record?: T; letter?: DeadLetter }
/** A partition that is this process's. `queue`: from the position on; `read` of them have been handed out. */
type Part<T> = { partition: number; next?: bigint; queue: Entry<T>[]; read: number }

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
  retentionDays = 7,
  now = Date.now,
  session,
  stuck = STUCK,
  ...cluster
}: KafkaTopicsOptions): Promise<Topics> {
  const kafka = openKafka(cluster, log)
  const named = (topic: TopicName | 'notes') => `${prefix}${topic}`
  const group = (name: string) => `${prefix}client-predict-${name}`
  const members = new Map<string, { close(): Promise<unknown> }>()
  let appender = kafka.writer(group(randomUUID()))
  try {
    await kafka.named(createTopics(kafka, { named, partitions, replication }))
    if (worker) await within(warnOfRetention(kafka, TOPICS.map(named), log)).catch(() => {}) // a look may be forbidden
  } catch (error) {
    await kafka.close()
    throw error
  }

  const messages = (writes: Writes, notes: Notes): Message[] => [
    ...TOPICS.flatMap((topic) => (writes[topic] ?? []).map((record) => message(topic, record))),
    ...Object.entries(notes).map(([key, value]) => ({
      topic: named('notes'),
      partition: 0,
      key: Buffer.from(key),
      value: Buffer.from(stringify(value)),
    })),
  ]
  function message(topic: TopicName, record: Records[TopicName]): Message {
    const text = stringify(record)
    const bytes = Buffer.byteLength(text)
    if (bytes > LARGEST) {
      const reason = `a record for ${topic} has ${bytes} bytes, more than Kafka takes`
      log.warn(`${reason}; its beginning is set aside in dead-letters`)
      return message('dead-letters', {
        stage: 'fetch',
        at: now(),
        reason,
        record: { body: text.slice(0, KEPT), bytes },
      })
    }
    const { cc_num } = record as Partial<Transaction>
    return {
      topic: named(topic),
      ...(cc_num === undefined ? { partition: 0 } : { key: Buffer.from(cardToken(cc_num)) }),
      value: Buffer.from(text),
      headers: new Map([[Buffer.from(OURS), Buffer.from('1')]]),
    }
  }
  async function append(writes: Writes, notes: Notes = {}) {
    const all = messages(writes, notes)
    if (all.length > 0) await kafka.named(appender.write(all))
  }

  /** Joins under this name; a member that this process had under it before leaves. */
  function join<P>(name: string, topic: string, make: (partition: number) => P) {
    void members.get(name)?.close()
    const member = openMember(kafka, { group: group(name), topic, alone: ALONE.includes(name), log, session }, make)
    members.set(name, member)
    return member
  }

  function reader<T extends TopicName>(topic: T, name: string): Reader<Records[T]> {
    type Mine = Part<Records[T]>
    let made: ReturnType<typeof join<Mine>> | undefined
    const member = () => (made ??= join(name, named(topic), (partition): Mine => ({ partition, queue: [], read: 0 })))
    const parts = () => [...member().partitions.values()]
    const current = (part: Mine) => member().partitions.get(part.partition) === part
    const setsAside = name === READERS[topic][0] // the others pass by what is foreign
    const seen = new WeakSet<Mine>()
    let looker: GroupConsumer | undefined
    const fetches = new Map<number, Promise<void>>() // under way, by node
    let turnOf = 0 // which partition is looked at first
    let aside: Promise<void> | undefined // foreign messages are being set aside
    let writer: { name: number; write: ReturnType<Kafka['writer']>['write']; close(): void } | undefined
    let waitingSince = 0
    let suspect = false

    /** Resolves when at least one partition is here, and its position known. */
    async function own(signal: AbortSignal) {
      for (;;) {
        await orAborted(signal, kafka.named(member().joined()))
        const fresh = parts().filter((part) => part.next === undefined)
        if (fresh.length > 0) await orAborted(signal, kafka.named(begin(fresh)))
        if (parts().some((part) => part.next !== undefined)) return
        await orAborted(signal, member().changed())
      }
    }
    /** What a process that had them before left unfinished is aborted first; else its end would have to be waited for. */
    async function begin(fresh: Mine[]) {
      for (const { partition } of fresh) {
        if (writer?.name === partition) closeWriter() // the name is taken anew
        const former = kafka.writer(`${group(name)}-${partition}`)
        await former.fence().finally(() => former.close())
      }
      const at = await kafka.positions(
        group(name),
        named(topic),
        fresh.map(({ partition }) => partition),
      )
      const starts = at.size < fresh.length ? await kafka.extents(named(topic)) : []
      for (const part of fresh) part.next ??= at.get(part.partition) ?? starts[part.partition]!.start
    }

    async function fetch(by: GroupConsumer, node: number, from: Mine[]) {
      const offsets = from.map(({ partition, next }) => ({ partition, offset: next! }))
      try {
        const found = await kafka.fetch(by, named(topic), offsets, { node, wait: FETCH_WAIT })
        for (const [i, part] of from.entries()) {
          const answer = found.get(part.partition)
          if (!answer || !current(part) || part.next !== offsets[i]!.offset) continue
          part.queue.push(...answer.records.map((committed) => entry(topic, committed)))
          part.next = answer.next
        }
      } catch (error) {
        if (by !== looker) return
        startOver()
        if (!saysBroker(error, 'OFFSET_OUT_OF_RANGE') || !(await toTheOldest(from))) throw error
      }
    }
    /** What the client has known, and what it is waiting for, is forgotten: it may be the trouble. */
    function startOver() {
      if (looker) discard(looker)
      looker = undefined
      fetches.clear()
    }
    /** Records that were not read yet are gone: somebody removed them, or made the topic anew. */
    async function toTheOldest(from: Mine[]): Promise<boolean> {
      const extents = await kafka.extents(named(topic))
      const lost = from.filter(({ partition, next }) => !holds(extents[partition]!, next!))
      for (const part of lost) {
        const { start, end } = extents[part.partition]!
        log.error(
          `${name}: ${named(topic)}-${part.partition} has no offset ${part.next} any more, it has ${start} to ${end}: records were removed before they were read; going on with the oldest`,
        )
        part.next = start
      }
      return lost.length > 0
    }
    /** Waits until there may be more to read. */
    async function pump(signal: AbortSignal) {
      looker ??= kafka.looker(named(topic))
      const by = looker
      const leaders = await orAborted(signal, kafka.named(kafka.leaders(by, named(topic))))
      const known = parts().filter((part) => part.next !== undefined)
      for (const [node, from] of Map.groupBy(known, ({ partition }) => leaders[partition]!)) {
        if (fetches.has(node)) continue
        const fetching = fetch(by, node, from).finally(() => fetches.get(node) === fetching && fetches.delete(node))
        fetches.set(node, fetching)
      }
      if (fetches.size > 0) await orAborted(signal, kafka.named(Promise.race(fetches.values())))
    }
    function wait() {
      waitingSince = performance.now()
      suspect = false
    }
    /** Brokers and libraries have been seen to stop without a word. */
    async function watch(signal: AbortSignal) {
      if (performance.now() - waitingSince < stuck) return
      const behind = (ends: Extent[]) =>
        parts().reduce((sum, { partition, next = 0n }) => sum + Math.max(0, Number(ends[partition]!.end - next)), 0)
      const written = behind(await orAborted(signal, kafka.named(kafka.ends(named(topic), { unfinished: true }))))
      if (written > 0 && !suspect) {
        suspect = true // unless the next fetch brings it
        return
      }
      wait()
      if (written === 0) return
      const got = `${name} got none of the ${written} messages that ${named(topic)} has for it, for ${stuck / 1000} s`
      if (behind(await orAborted(signal, kafka.named(kafka.ends(named(topic))))) > 0) {
        log.warn(`${got}; starting over with new connections`)
        startOver()
      } else
        log.warn(
          `${got}: another program has begun a transaction and has not ended it; the brokers end it when its time is over, after 15 min at most unless they are told otherwise`,
        )
    }

    async function read(limit: number, signal: AbortSignal): Promise<Batch<Records[T]>> {
      wait()
      for (;;) {
        signal.throwIfAborted()
        if (aside) await orAborted(signal, aside)
        await own(signal)
        const entries = gather(limit)
        if (entries.some(({ entry }) => entry.record)) return makeBatch(entries)
        for (const { part } of entries) part.read--
        // Foreign messages alone. After what is in hand they have to wait: the position would move past that too.
        const foreign = entries.filter(({ part }) => part.read === 0)
        if (foreign.length > 0) {
          aside = setAside(foreign).finally(() => {
            aside = undefined
          })
          aside.catch(() => {})
        } else {
          await pump(signal)
          await watch(signal)
        }
      }
    }
    async function setAside(foreign: Parameters<typeof makeBatch>[0]) {
      try {
        await makeBatch(foreign).commit(0)
      } catch (error) {
        if (!(error instanceof TakenOver)) throw error // the other process sees them too
      }
    }
    function gather(limit: number) {
      const taken: { part: Mine; entry: Entry<Records[T]> }[] = []
      let left = limit
      const all = parts()
      for (const i of all.keys()) {
        const part = all[(i + turnOf) % all.length]!
        while (left > 0 && part.read < part.queue.length) {
          const next = part.queue[part.read++]!
          if (!next.letter) left--
          taken.push({ part, entry: next })
        }
      }
      turnOf++
      return taken
    }

    function makeBatch(entries: { part: Mine; entry: Entry<Records[T]> }[]): Batch<Records[T]> {
      const records = entries.flatMap(({ entry }) => (entry.record === undefined ? [] : [entry.record]))
      let done = 0 // entries
      let left = records.length
      return {
        records,
        async commit(count, writes = {}, notes = {}) {
          if (count < 0 || count > left) throw new RangeError(`cannot commit ${count} of ${left} records`)
          let end = done
          for (let open = count; end < entries.length; end++) {
            if (entries[end]!.entry.letter) continue // goes with its neighbours
            if (open-- === 0) break
          }
          const passed = entries.slice(done, end)
          const letters = setsAside ? passed.flatMap(({ entry: { letter } }) => letter ?? []) : []
          const all = messages({ ...writes, 'dead-letters': [...(writes['dead-letters'] ?? []), ...letters] }, notes)
          if (passed.length === 0 && all.length === 0) return
          const held = new Map(
            entries.slice(done, Math.max(end, done + 1)).map(({ part }) => [part, part.queue[0]?.offset ?? part.next!]),
          )
          for (const { part, entry } of passed) held.set(part, entry.offset + 1n)
          await move(held, all)
          for (const [part, position] of held) {
            const gone = part.queue.findIndex(({ offset }) => offset >= position)
            part.read = Math.max(0, part.read - part.queue.splice(0, gone < 0 ? part.queue.length : gone).length)
          }
          for (const { reason } of letters)
            log.warn(`a message of ${named(topic)} is set aside in dead-letters: ${reason}`)
          done = end
          left -= count
        },
      }
    }
    /** Moves positions and writes, in one transaction, while the partitions are this process's. */
    async function move(to: Map<Mine, bigint>, all: Message[]) {
      const next = [...to].map(([{ partition }, offset]) => ({ partition, offset }))
      for (let tries = 1; ; tries++) {
        if (![...to.keys()].every(current)) throw new TakenOver(name)
        const changed = member().changed()
        try {
          const consumer = await member().joined()
          return await kafka.named(
            writerOf(Math.min(...member().partitions.keys())).write(all, { consumer, topic: named(topic), next }),
          )
        } catch (error) {
          const { kafka: said } = error as { kafka?: unknown }
          if (!saysBroker(said, ...REBALANCING)) throw error
          if (tries === 3)
            void member().leave() // a rebalance would have come by now
          else await Promise.race([changed, sleep(session ?? 10_000, undefined, { ref: false })])
        }
      }
    }
    /** One name for the lowest partition here: the next process that has it ends what is unfinished under the name. */
    function writerOf(lowest: number) {
      if (writer?.name !== lowest) {
        closeWriter()
        writer = { name: lowest, ...kafka.writer(`${group(name)}-${lowest}`) }
      }
      return writer
    }
    function closeWriter() {
      writer?.close()
      writer = undefined
    }

    return {
      async take(signal) {
        signal.throwIfAborted()
        await own(signal)
        const fresh = parts().filter((part) => !seen.has(part))
        for (const part of fresh) seen.add(part)
        return fresh.length > 0
      },
      read,
      rewind() {
        for (const part of parts()) part.read = 0
      },
      lag: () => kafka.named(lag()),
    }
    async function lag(): Promise<number> {
      const partitions = (await kafka.leaders(kafka.admin, named(topic))).map((_, partition) => partition)
      const at = await kafka.positions(group(name), named(topic), partitions)
      const extents = await kafka.extents(named(topic)) // after the positions: none is beyond the end then
      const rest = extents.map((extent) => {
        const next = at.get(extent.partition)
        return next !== undefined && holds(extent, next) ? { ...extent, start: next } : extent
      })
      const most = rest.reduce((sum, { start, end }) => sum + Number(end - start), 0)
      if (most > COUNTED) return most
      let count = 0
      for await (const _ of kafka.scan(
        named(topic),
        rest.filter(({ start, end }) => end > start),
      ))
        count++
      return count
    }
  }

  function turn(name: string): Turn {
    const member = join(name, named('notes'), () => ({}))
    let held: object | undefined
    return {
      async take(signal) {
        for (;;) {
          await orAborted(signal, kafka.named(member.joined()))
          const [mine] = member.partitions.values()
          if (mine && mine === held) return false
          if (mine) {
            // Under one name, so that what a process left unfinished when it was killed is not waited for.
            const writer = kafka.writer(group(name))
            await orAborted(signal, kafka.named(writer.fence()))
            appender.close()
            appender = writer
            held = mine
            return true
          }
          await orAborted(signal, member.changed())
        }
      },
    }
  }

  /** Removes what every reader has passed and is older than the retention. */
  async function clean() {
    for (const topic of TOPICS.filter((name) => READERS[name].length > 0)) {
      const extents = await kafka.extents(named(topic))
      const all = extents.map(({ partition }) => partition)
      const passed = await Promise.all(
        READERS[topic].map((name) => kafka.positions(group(name), named(topic), all, { stable: false })),
      )
      const [young] = await kafka.admin.listOffsets({
        topics: [
          {
            name: named(topic),
            partitions: all.map((partitionIndex) => ({
              partitionIndex,
              timestamp: BigInt(now() - retentionDays * DAY),
            })),
          },
        ],
      })
      const removable = extents.flatMap(({ partition, start, end }) => {
        const old = young?.partitions.find(({ partitionIndex }) => partitionIndex === partition)?.offset ?? start
        const offset = [old < 0n ? end : old, ...passed.map((at) => at.get(partition) ?? start)].reduce((a, b) =>
          a < b ? a : b,
        )
        return offset > start ? [{ partition, offset }] : []
      })
      if (removable.length > 0)
        await kafka.admin.deleteRecords({ topics: [{ name: named(topic), partitions: removable }] })
    }
  }
  // What fails here is not what to report: the next append says it, and stops nothing else.
  const cleaning = worker ? setInterval(() => clean().catch(() => {}), CLEAN_EVERY).unref() : undefined
  if (worker) await within(clean()).catch(() => {})

  return {
    append: (writes) => append(writes),
    reader,
    turn,
    async *scan(topic) {
      const extents = await kafka.named(kafka.extents(named(topic)))
      for await (const committed of kafka.scan(named(topic), extents)) {
        const { record } = entry(topic, committed)
        const { partition, offset } = committed
        if (record) yield { id: extents.length > 1 ? `${partition}-${offset}` : String(offset), record }
      }
    },
    note: (notes) => append({}, notes),
    async noted(key) {
      let value: Buffer | null | undefined
      for await (const { record } of kafka.scan(named('notes'), await kafka.named(kafka.extents(named('notes')))))
        if (record.key?.toString() === key) value = record.value
      return value ? parse(value.toString()) : undefined
    },
    async close() {
      clearInterval(cleaning)
      const left = [...members.values()].map((member) => member.close())
      await Promise.allSettled([...left, kafka.close()])
    },
  }
}

/**
 * What a card's records are kept together by: the first 4 hex digits of the SHA-256 of its number. Enough to spread cards
 * over partitions, far too few to lead back to one.
 */
export const cardToken = (cc_num: bigint) => createHash('sha256').update(String(cc_num)).digest('hex').slice(0, 4)

const holds = ({ start, end }: Extent, offset: bigint) => offset >= start && offset <= end

/** Messages of other programs are welcome in `transactions`, as rows of the producer; elsewhere they have no place. */
function entry<T extends TopicName>(topic: T, { offset, timestamp, record }: Committed): Entry<Records[T]> {
  const body = record.value?.toString() ?? ''
  try {
    if (record.headers.some(([key]) => key?.toString() === OURS)) return { offset, record: decode<T>(body) }
    if (topic !== 'transactions') throw new Error(`client-predict has not written it`)
    const row = parse(body)
    if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new Error('it is no JSON object')
    const transaction = toTransaction({ current_time: row.event_time, ...row }, timestamp)
    return { offset, record: transaction as Records[T] }
  } catch (error) {
    const reason = `a foreign message in the topic ${topic}: ${error instanceof SyntaxError ? 'it is no JSON' : (error as Error).message}`
    return {
      offset,
      letter: {
        stage: 'fetch',
        at: timestamp,
        reason,
        record: { body: body.slice(0, KEPT), bytes: record.value?.length ?? 0 },
      },
    }
  }
}

async function createTopics(
  kafka: Kafka,
  {
    named,
    partitions,
    replication,
  }: { named(topic: TopicName | 'notes'): string; partitions: number; replication?: number | undefined },
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
  const there = new Set(await within(kafka.admin.listTopics()))
  for (const { topic, partitions: count, configs } of wanted.filter(({ topic }) => !there.has(topic)))
    await within(
      kafka.admin.createTopics({ topics: [topic], partitions: count, replicas: replication ?? -1, configs }),
    ).catch((error) => {
      if (!saysBroker(error, 'TOPIC_ALREADY_EXISTS')) throw error
    })
  for (const { topic } of wanted) await kafka.extents(topic) // resolves when every partition has a leader
}

/** Topics that somebody else made may forget by time alone. */
async function warnOfRetention(kafka: Kafka, topics: string[], log: Logger) {
  const found = await kafka.admin.describeConfigs({
    resources: topics.map((resourceName) => ({ resourceType: 2, resourceName, configurationKeys: ['retention.ms'] })),
  })
  for (const { resourceName, configs } of found) {
    const ms = Number(configs.find(({ name }) => name === 'retention.ms')?.value ?? -1)
    if (ms >= 0)
      log.warn(
        `the Kafka topic ${resourceName} forgets after ${(ms / DAY).toFixed(1)} days what nobody has read by then; set its retention.ms to -1: client-predict removes what every reader has passed`,
      )
  }
}
