import { setTimeout as sleep } from 'node:timers/promises'
import { type Admin, FetchIsolationLevels } from '@platformatic/kafka'
import { within } from './errors.ts'
import type { GroupConsumer, Position, Term } from './group.ts'
import { COMMITTED, type Committed, committed } from './workarounds.ts'

/** bytes that one fetch takes of a partition, and of all of them; a larger record comes alone */
const FETCH_BYTES = 1_048_576
const FETCH_BYTES_IN_ALL = 8_388_608

/** Records of a partition, `end` left out. */
type Stretch = { partition: number; start: bigint; end: bigint }
/** From where to where the records of a partition reach: up to `end` they are committed or aborted. `term`: who says so. */
export type Extent = Stretch & { term: Term }
type Cluster = {
  admin: Admin
  consumer(options: { groupId: string }): GroupConsumer
  /** names the brokers in what goes wrong */
  named<T>(work: Promise<T>): Promise<T>
  closing: AbortSignal
}

/** What is asked of the brokers: where records, and the positions of groups, are; and the committed records themselves. */
export function openReads({ admin, consumer, named, closing }: Cluster) {
  const latest = new Map<string, bigint>() // offset written last, by topic and partition
  const lookers: GroupConsumer[] = [] // that nobody uses just now

  /** Reads without a group, over connections of its own. */
  function looker(topic: string): GroupConsumer {
    const made = lookers.pop() ?? consumer({ groupId: 'nobody' })
    made.topics.track(topic)
    return made
  }

  /**
   * What is readable of each partition. Waits for what was written here last: its commit may not have got around yet, or
   * a broker that stood still is asked. With `whole` nothing less will do.
   */
  async function extents(topic: string, { whole = false } = {}): Promise<Extent[]> {
    for (let tries = 1; ; tries++) {
      const found = await endsOf(admin, topic)
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
      if (sound && !closing.aborted) lookers.push(by)
      else discard(by)
    }
  }

  return {
    latest,
    looker,
    fetch,
    leaders,
    extents,
    scan,
    ends: (topic: string, which?: { unfinished?: boolean }) => endsOf(admin, topic, which),
    positions: (groupId: string, topic: string, partitions: number[], which?: { stable?: boolean }) =>
      positionsOf(admin, groupId, topic, partitions, which),
  }
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

/** Where each partition begins and ends; with `unfinished`, transactions that are under way count too. */
async function endsOf(admin: Admin, topic: string, { unfinished = false } = {}): Promise<Extent[]> {
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

/**
 * Where a group goes on, by partition; undefined where it has not begun. For figures: a broker that stood still may be
 * behind for a moment, and with `stable: false` commits that are under way are not waited for.
 */
async function positionsOf(
  admin: Admin,
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
    found.flatMap(({ partitionIndex, committedOffset: at }) => (at < 0n ? [] : [[partitionIndex, at] as const])),
  )
}

/** Closes a client that may have lost its broker, and does not wait for it. */
export function discard(client: { close(): Promise<unknown> }) {
  client.close().catch(() => {})
}
