import { setTimeout as sleep } from 'node:timers/promises'
import { findErrorBy, type Producer } from '@platformatic/kafka'
import { saysBroker, within } from './errors.ts'
import { ANEW, newest, onEndSentAgain, retried } from './workarounds.ts'

/** ms after which a mark that is missing in a log will not come by itself */
const LATE = 2000

type Sender = Producer<Buffer, Buffer, Buffer, Buffer>
export type Transaction = Awaited<ReturnType<Sender['beginTransaction']>>
export type Place = { topic: string; partition: number }
/** What a transaction may have changed: partitions, or all of some topics, and positions of a group. */
export type Touched = {
  places?: readonly Place[]
  topics?: readonly string[]
  positions?: { groupId: string; topic: string; partitions: number[] } | undefined
}
export type Cluster = {
  /** A producer of this name, closed with the others at the end. */
  open(name: string): Sender
  positions(groupId: string, topic: string, partitions: number[]): Promise<unknown>
  closing: AbortSignal
}

/** The transactions of one name, one after the other. Taking the name anew ends what was unfinished under it. */
export function openTransactions({ open, positions, closing }: Cluster, name: string) {
  let producer: Sender | undefined
  const left: Touched[] = [] // by transactions that are not over in every log
  let endedTwice = false // an end may still be on its way

  /** Nothing that failed is open any more anywhere, or it would be committed with the next one. */
  async function begin(touched: Touched) {
    await clear()
    const begun = await start()
    left.push(touched)
    return begun
  }
  async function start() {
    producer ??= opened()
    const by = producer
    return { by, transaction: await by.beginTransaction(ANEW) }
  }
  function opened() {
    const fresh = open(name)
    onEndSentAgain(fresh, () => {
      endedTwice = true
    })
    endedTwice = false
    return fresh
  }
  async function commit(transaction: Transaction) {
    await transaction.commit()
    if (endedTwice) throw new Error('the end of a transaction was sent twice')
  }
  /** Nothing that was begun under the name goes on, as far as its coordinator knows. */
  async function fence() {
    try {
      await within(start().then(({ transaction }) => transaction.cancel()))
    } catch (error) {
      drop()
      throw error
    }
  }
  function drop() {
    producer?.close().catch(() => {}) // it may have lost its broker
    producer = undefined
  }

  async function clear() {
    if (left.length > 0) await fence()
    while (left[0]) await end(left[0], false)
  }
  /** Takes the name: what is unfinished under it is aborted, and will stay so. `touched`: what that may have changed. */
  async function take(touched: Touched) {
    left.push(touched)
    await clear().catch((error) => {
      drop()
      throw error
    })
  }

  /** Resolves when a transaction that is over is so in every log; where that does not come by itself it is ended again. */
  async function end({ places, topics = [], positions }: Touched, committed: boolean) {
    for (let [looks, since, by] = [1, performance.now(), producer!]; ; looks++) {
      const open = await unended(by, places ?? (await everyPlace(by, topics)))
      const pending = positions && !(await stable(positions)) ? positions : undefined
      if (producer !== by) throw new Error('it was given up') // and is another one's by now
      if (open.length === 0 && !pending) return void left.shift()
      if (performance.now() - since > LATE) {
        drop()
        by = await within(again(open, pending, committed))
        since = performance.now()
      }
      await sleep(Math.min(5 * looks, 100), undefined, { signal: closing })
    }
  }
  async function again(places: Place[], positions: Touched['positions'], committed: boolean) {
    const { by, transaction } = await start()
    const metadata = await by.metadata({ topics: topicsOf(places) })
    await transaction.addPartitions(metadata, places.map((place) => ({ ...place })) as never)
    if (positions) await transaction.addConsumer(positions as never)
    await (committed ? commit(transaction) : transaction.abort())
    return by
  }
  /** Whether no transaction holds these positions open. */
  const stable = ({ groupId, topic, partitions }: NonNullable<Touched['positions']>) =>
    positions(groupId, topic, partitions).then(
      () => true,
      (error) => {
        if (saysBroker(error, 'UNSTABLE_OFFSET_COMMIT')) return false
        throw error
      },
    )

  return {
    begin,
    commit,
    fence,
    take,
    drop,
    end,
    stable,
    unended: (places: readonly Place[]) => unended(producer!, places),
  }
}
const topicsOf = (places: readonly Place[]) => [...new Set(places.map(({ topic }) => topic))]
async function everyPlace(by: Sender, topics: readonly string[]): Promise<Place[]> {
  const { topics: known } = await within(by.metadata({ topics: [...new Set(topics)] }))
  return [...known].flatMap(([topic, { partitions }]) =>
    [...partitions.keys()].map((partition) => ({ topic, partition })),
  )
}

/**
 * Where a log still has a transaction of this producer open. Brokers of Kafka 4.3 and 4.4 (KAFKA-20734) call one over and
 * never write its mark to a partition that has no leader just then: it would share the end of the producer's next one.
 */
export async function unended(
  by: Producer<Buffer, Buffer, Buffer, Buffer>,
  places: readonly Place[],
): Promise<Place[]> {
  if (places.length === 0) return []
  let forceUpdate = false
  const found = retried(by, 'unended', async () => {
    const describe = await newest<[object[]], Described>(by, 'DescribeProducers')
    const { brokers, topics: known } = await by.metadata({ topics: topicsOf(places), forceUpdate })
    forceUpdate = true
    const leaders = Map.groupBy(places, ({ topic, partition }) => known.get(topic)!.partitions[partition]!.leader)
    const open = Array.from(leaders, async ([leader, led]) => {
      const asked = Array.from(
        Map.groupBy(led, ({ topic }) => topic),
        ([name, all]) => ({ name, partitionIndexes: all.map(({ partition }) => partition) }),
      )
      const answer = await describe.async(await by.connections.get(brokers.get(leader)!), asked)
      return answer.topics.flatMap(({ name: topic, partitions }) =>
        partitions
          .filter(({ activeProducers }) =>
            activeProducers.some((it) => it.producerId === by.producerId && it.currentTxnStartOffset >= 0n),
          )
          .map(({ partitionIndex: partition }) => ({ topic, partition })),
      )
    })
    return (await Promise.all(open)).flat()
  })
  return within(found).catch((error) => {
    if (findErrorBy(error, 'code', 'PLT_KFK_UNSUPPORTED_API') || saysBroker(error, 'TOPIC_AUTHORIZATION_FAILED'))
      return []
    throw error // who tells nobody is believed
  })
}
type Described = {
  topics: {
    name: string
    partitions: {
      partitionIndex: number
      activeProducers: { producerId: bigint; currentTxnStartOffset: bigint }[]
    }[]
  }[]
}
