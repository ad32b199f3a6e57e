import { type Consumer, findErrorBy, type Producer } from '@platformatic/kafka'
import { newest, retried } from './workarounds.ts'

export type GroupConsumer = Consumer<Buffer, Buffer, Buffer, Buffer>
/** What a consumer is in its group, until partitions are shared out anew; the library's own is ahead of them. */
export type Membership = { consumer: GroupConsumer; memberId: string; generationId: number }
/**
 * When a record was written: in which term of the partition's leader. Whoever leads in an earlier one, of the same topic,
 * stood still, and has less than there is. Terms of a topic that was made anew begin anew.
 */
export type Term = { topicId: string; epoch: number }
export type Position = { partition: number; offset: bigint; term?: Term | undefined }

export const earlier = (term: Term, than: Term | undefined) => term.topicId === than?.topicId && term.epoch < than.epoch

/**
 * Where the group goes on, nothing where it has not begun. A coordinator that stood still answers from
 * what it knew then (docs/kafka.md): it is believed only when it knows this generation, and so all that was committed
 * before it. Waits for commits that are under way, if only for brokers to abort those of a process that was killed.
 */
export function positionsOf({ consumer, memberId, generationId }: Membership, topic: string, partitions: number[]) {
  const { groupId } = consumer
  return retried(consumer, 'positions', async () => {
    const heartbeat = await newest<[string, number, string, null], object>(consumer, 'Heartbeat')
    const offsetFetch = await newest<[object[], boolean], Fetched & { groups?: Fetched[] }>(consumer, 'OffsetFetch')
    const { brokers, topics: all } = await consumer.metadata({ topics: [topic] })
    const connection = await consumer.connections.get(brokers.get(await consumer.findGroupCoordinator())!)
    const topicId = all.get(topic)!.id
    const known = () =>
      heartbeat.async(connection, groupId, generationId, memberId, null).catch((error) => {
        if (!findErrorBy(error, 'apiId', 'REBALANCE_IN_PROGRESS')) throw error // this one says it of its own generation
      })
    await known() // from here on what it knows can only grow
    const group = { groupId, memberId: null, memberEpoch: -1, topics: [{ name: topic, partitionIndexes: partitions }] }
    const answer = await offsetFetch.async(connection, [group], true)
    await known() // or the partitions have been given away meanwhile
    const { topics } = answer.groups?.[0] ?? answer // without groups before version 8
    return topics
      .flatMap(({ partitions }) => partitions)
      .filter(({ committedOffset }) => committedOffset >= 0n)
      .map(
        ({ partitionIndex, committedOffset, committedLeaderEpoch: epoch }): Position => ({
          partition: partitionIndex,
          offset: committedOffset,
          term: { topicId, epoch },
        }),
      )
  })
}
type Fetched = { topics: { partitions: Told[] }[] }
type Told = { partitionIndex: number; committedOffset: bigint; committedLeaderEpoch: number }

/** Lets the positions move with a producer's transaction, to which the group was added: all, or none of them. */
export function movePositions(
  producer: Producer<Buffer, Buffer, Buffer, Buffer>,
  transactionalId: string,
  { consumer, memberId, generationId }: Membership,
  topic: string,
  next: readonly Position[],
) {
  const partitions = next.map(({ partition, offset, term }) => ({
    partitionIndex: partition,
    committedOffset: offset,
    committedLeaderEpoch: term?.epoch ?? -1,
  }))
  return retried(producer, 'movePositions', async () => {
    const commit = await newest<unknown[], object>(producer, 'TxnOffsetCommit')
    const { brokers } = await producer.metadata({ topics: [topic] })
    const connection = await producer.connections.get(brokers.get(await consumer.findGroupCoordinator())!)
    const { producerId, producerEpoch } = producer
    const group = [transactionalId, consumer.groupId, producerId, producerEpoch, generationId, memberId, null]
    await commit.async(connection, ...group, [{ name: topic, partitions }])
  })
}
