import type { Reader } from '../../topic/topic.ts'
import type { Extent, Kafka } from './client.ts'

/** Up to so many records the lag is counted; beyond, the marks of transactions count too. */
const COUNTED = 1000

export const holds = ({ start, end }: Extent, offset: bigint) => offset >= start && offset <= end

/** How far a consumer group is, asked of the brokers: whoever reads. */
export function kafkaLag(
  kafka: Kafka,
  topic: string,
  group: string,
): Pick<Reader<unknown>, 'lag' | 'oldest' | 'passed'> {
  async function committed() {
    const partitions = (await kafka.leaders(kafka.admin, topic)).map((_, partition) => partition)
    return [partitions, await kafka.positions(group, topic, partitions)] as const
  }
  async function lag(): Promise<number> {
    const rest = await unread()
    const most = rest.reduce((sum, { start, end }) => sum + Number(end - start), 0)
    if (most > COUNTED) return most
    let count = 0
    for await (const _ of kafka.scan(topic, rest)) count++
    return count
  }
  async function oldest(): Promise<number | undefined> {
    const times: number[] = []
    for (const part of await unread())
      for await (const { timestamp } of kafka.scan(topic, [part])) {
        times.push(timestamp)
        break
      }
    return times.length > 0 ? Math.min(...times) : undefined
  }
  /** What is after the position of each partition that has anything there. */
  async function unread(): Promise<Extent[]> {
    const [, at] = await committed()
    const extents = await kafka.extents(topic) // after the positions: none is beyond the end then
    const rest = extents.map((extent) => {
      const next = at.get(extent.partition)
      return next !== undefined && holds(extent, next) ? { ...extent, start: next } : extent
    })
    return rest.filter(({ start, end }) => end > start)
  }
  return {
    lag: () => kafka.named(lag()),
    oldest: () => kafka.named(oldest()),
    async passed() {
      const [partitions, at] = await kafka.named(committed())
      return (id) => {
        const [partition, offset] = partitions.length > 1 ? id.split('-') : ['0', id]
        return BigInt(offset!) < (at.get(Number(partition)) ?? 0n)
      }
    },
  }
}
