import { READERS, type ReaderName, type Snapshot, TOPICS, type TopicName } from '../../topic/topic.ts'
import type { Kafka } from './client.ts'
import type { Named } from './codec.ts'
import type { Extent } from './reads.ts'

/** Up to so many records the lag is counted; beyond, the marks of transactions count too. */
const COUNTED = 1000

export const holds = ({ start, end }: Extent, offset: bigint) => offset >= start && offset <= end

/** How far every consumer group is, asked of the brokers: whoever reads. */
export async function snapshotOf(kafka: Kafka, named: Named, group: (name: string) => string): Promise<Snapshot> {
  const all = TOPICS.flatMap((topic) => READERS[topic].map((name) => where(topic, name)))
  const found = new Map(await Promise.all(all))
  const lag = [...found].map(([name, { records, oldest }]) => [name, { records, oldest }])
  return { lag: Object.fromEntries(lag), passed: (name, id) => found.get(name)!.passed(id) }

  async function where(topic: TopicName, name: ReaderName) {
    const partitions = (await kafka.leaders(kafka.admin, named(topic))).map((_, partition) => partition)
    const at = await kafka.positions(group(name), named(topic), partitions)
    const extents = await kafka.extents(named(topic)) // after the positions: none is beyond the end then
    const rest = extents.flatMap((extent) => {
      const next = at.get(extent.partition)
      const after = next !== undefined && holds(extent, next) ? { ...extent, start: next } : extent
      return after.end > after.start ? [after] : []
    })
    const passed = (id: string) => {
      const [partition, offset] = partitions.length > 1 ? id.split('-') : ['0', id]
      return BigInt(offset!) < (at.get(Number(partition)) ?? 0n)
    }
    return [
      name,
      { passed, records: await count(named(topic), rest), oldest: await oldest(named(topic), rest) },
    ] as const
  }
  async function count(topic: string, rest: Extent[]): Promise<number> {
    const most = rest.reduce((sum, { start, end }) => sum + Number(end - start), 0)
    if (most > COUNTED) return most
    let count = 0
    for await (const _ of kafka.scan(topic, rest)) count++
    return count
  }
  async function oldest(topic: string, rest: Extent[]): Promise<number | undefined> {
    const times: number[] = []
    for (const part of rest)
      for await (const { timestamp } of kafka.scan(topic, [part])) {
        times.push(timestamp)
        break
      }
    return times.length > 0 ? Math.min(...times) : undefined
  }
}
