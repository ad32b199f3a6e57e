import { type API, type Base, type Consumer, findErrorBy, kGetApi, kPerformWithRetry } from '@platformatic/kafka'

export type GroupConsumer = Consumer<Buffer, Buffer, Buffer, Buffer>
/** What a consumer is in its group, until partitions are shared out anew; the library's own is ahead of them. */
export type Membership = { consumer: GroupConsumer; memberId: string; generationId: number }

/**
 * Where the group goes on, by partition; nothing where it has not begun. A coordinator that stood still answers from
 * what it knew then (docs/kafka.md): it is believed only when it knows this generation, and so all that was committed
 * before it. Waits for commits that are under way, if only for brokers to abort those of a process that was killed.
 */
export function positionsOf({ consumer, memberId, generationId }: Membership, topic: string, partitions: number[]) {
  const { groupId } = consumer
  return retried(consumer, 'positions', async () => {
    const heartbeat = await newest<[string, number, string, null], object>(consumer, 'Heartbeat')
    const offsetFetch = await newest<[object[], boolean], Fetched & { groups?: Fetched[] }>(consumer, 'OffsetFetch')
    const { brokers } = await consumer.metadata({ topics: [topic] })
    const connection = await consumer.connections.get(brokers.get(await consumer.findGroupCoordinator())!)
    const known = () =>
      heartbeat.async(connection, groupId, generationId, memberId, null).catch((error) => {
        if (!findErrorBy(error, 'apiId', 'REBALANCE_IN_PROGRESS')) throw error // this one says it of its own generation
      })
    await known() // from here on what it knows can only grow
    const group = { groupId, memberId: null, memberEpoch: -1, topics: [{ name: topic, partitionIndexes: partitions }] }
    const answer = await offsetFetch.async(connection, [group], true)
    await known() // or the partitions have been given away meanwhile
    const { topics } = answer.groups?.[0] ?? answer // without groups before version 8
    return new Map(
      topics
        .flatMap(({ partitions }) => partitions)
        .filter(({ committedOffset }) => committedOffset >= 0n)
        .map(({ partitionIndex, committedOffset }) => [partitionIndex, committedOffset]),
    )
  })
}
type Fetched = { topics: { name: string; partitions: { partitionIndex: number; committedOffset: bigint }[] }[] }

/** A request in the newest version that both sides know; the library's methods do not send every one of them. */
const newest = <A extends unknown[], R>(client: Base, name: string) =>
  new Promise<API<A, R>>((resolve, reject) =>
    client[kGetApi]<A, R>(name, (error, found) => (error ? reject(error) : resolve(found!))),
  )
/** As the library tries its own requests again. */
const retried = <R>(client: Base, name: string, ask: () => Promise<R>) =>
  new Promise<R>((resolve, reject) =>
    client[kPerformWithRetry]<R>(
      name,
      (done) => void ask().then((found) => done(null, found), done),
      (error, found) => (error ? reject(error) : resolve(found!)),
    ),
  )
