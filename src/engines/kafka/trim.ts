import { READERS, type ReaderName, TOPICS } from '../../topic/topic.ts'
import type { Kafka } from './client.ts'
import { toEntry } from './codec.ts'
import type { Shared } from './shared.ts'

/**
 * Removes what was appended before then (ms since 1970) and every reader has passed, but for the unused ones; and dead letters
 * that were crossed out before then.
 */
export async function trim(
  { kafka, named, group }: Pick<Shared, 'kafka' | 'named' | 'group'>,
  before: number,
  unused: readonly ReaderName[],
) {
  for (const name of TOPICS) {
    const topic = named(name)
    const extents = await kafka.extents(topic)
    const all = extents.map(({ partition }) => partition)
    const readers = READERS[name].filter((reader: ReaderName) => !unused.includes(reader))
    const passed = await Promise.all(
      readers.map((reader) => kafka.positions(group(reader), topic, all, { stable: false })),
    )
    const young = await firstSince(kafka, topic, all, before)
    const old = extents.map(({ partition, start, end }) => ({ partition, start, end: young.get(partition) ?? end }))
    const removable =
      READERS[name].length === 0
        ? await crossedOut(kafka, topic, old)
        : old.map(({ partition, start, end }) => ({
            partition,
            start,
            offset: passed.map((at) => at.get(partition) ?? start).reduce((a, b) => (a < b ? a : b), end),
          }))
    const partitions = removable.flatMap(({ partition, start, offset }) =>
      offset > start ? [{ partition, offset }] : [],
    )
    if (partitions.length > 0) await kafka.admin.deleteRecords({ topics: [{ name: topic, partitions }] })
  }
}

/** Where in each partition the first record stands that was appended then or later; none: there is none. */
async function firstSince(kafka: Kafka, name: string, partitions: readonly number[], since: number) {
  const asked = partitions.map((partitionIndex) => ({ partitionIndex, timestamp: BigInt(since) }))
  const [found] = await kafka.admin.listOffsets({ topics: [{ name, partitions: asked }] })
  const known = found?.partitions.filter(({ offset }) => offset >= 0n) ?? []
  return new Map(known.map(({ partitionIndex, offset }) => [partitionIndex, offset]))
}

/**
 * Of a log only the beginning can be removed: up to the first letter that is not crossed out. In several partitions, which
 * somebody else has made, a letter may stand behind what crosses it out: there all stay.
 */
async function crossedOut(
  kafka: Kafka,
  topic: string,
  old: readonly { partition: number; start: bigint; end: bigint }[],
) {
  const [one, another] = old
  if (!one || another) return []
  const crossed = new Set<string>()
  const letters: bigint[] = []
  for await (const committed of kafka.scan(topic, [one])) {
    const { record } = toEntry('dead-letters', committed)
    if (record && 'retried' in record) crossed.add(record.retried)
    else letters.push(committed.offset)
  }
  return [{ ...one, offset: letters.find((offset) => !crossed.has(String(offset))) ?? one.end }]
}
