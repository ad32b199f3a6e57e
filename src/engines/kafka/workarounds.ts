import {
  type API,
  type Base,
  type Broker,
  type CallbackWithPromise,
  type Connection,
  type Consumer,
  FetchIsolationLevels,
  IS_CONTROL,
  IS_TRANSACTIONAL,
  type KafkaRecord,
  kGetApi,
  kGetBootstrapConnection,
  kPerformWithRetry,
} from '@platformatic/kafka'

/*
 * What @platformatic/kafka 2.12.1 does wrong, or does not do, and how we get by. Each names the test in test/kafka that
 * sees it; a repair can go when that is green without it.
 */

/**
 * READ_COMMITTED, but as text: the library sorts aborted records out itself only when it is the number, and then drops
 * committed ones too, if a later abort of the same producer had no records ("do not take with them what was committed
 * before an abort without records").
 */
export const COMMITTED = String(FetchIsolationLevels.READ_COMMITTED) as never
/** the mark of an aborted transaction (ControlRecordType in Kafka's source) */
const ABORT = 0

export type Committed = { offset: bigint; timestamp: number; record: KafkaRecord }
type FetchedPartition = Awaited<ReturnType<Consumer['fetch']>>['responses'][number]['partitions'][number]

/**
 * The records of a fetch that count: not those of aborted transactions, nor the marks of how one ended. The library leaves
 * them in when a producer aborted twice, or the mark is in the next fetch ("are never read, twice in a row …").
 */
export function committed(part: FetchedPartition, from: bigint): { records: Committed[]; next: bigint; end: bigint } {
  const aborted = [...(part.abortedTransactions ?? [])].sort((a, b) => Number(a.firstOffset - b.firstOffset))
  const within = new Set<bigint>() // producers in the middle of an aborted transaction
  const records: Committed[] = []
  let next = from
  for (const batch of part.records ?? []) {
    const last = batch.firstOffset + BigInt(batch.lastOffsetDelta)
    while (aborted[0] && aborted[0].firstOffset <= last) within.add(aborted.shift()!.producerId)
    if (batch.attributes & IS_CONTROL) {
      if (batch.records[0]?.key?.readInt16BE(2) === ABORT) within.delete(batch.producerId)
    } else if (!(batch.attributes & IS_TRANSACTIONAL && within.has(batch.producerId))) {
      for (const record of batch.records) {
        const offset = batch.firstOffset + BigInt(record.offsetDelta)
        const timestamp = Number(batch.firstTimestamp + record.timestampDelta)
        if (offset >= from) records.push({ offset, timestamp, record }) // a batch may begin earlier
      }
    }
    if (last >= next) next = last + 1n
  }
  return { records, next, end: part.lastStableOffset }
}

/**
 * The library asks the first of its list again and again, and waits each time: who fell silent is to be the last of
 * `order` ("come and go, and brokers of three are killed or freeze": a new process asks the frozen one first).
 */
export function askInTurn(client: Base, order: Broker[]) {
  Object.assign(client, {
    [kGetBootstrapConnection]: (done: CallbackWithPromise<Connection>) =>
      client.connections.getFirstAvailable([...order, ...(client.currentMetadata?.brokers.values() ?? [])], done),
  })
  const demote = ({ broker }: { broker?: Broker }) => {
    const i = order.findIndex(({ host, port }) => host === broker?.host && port === broker?.port)
    if (i >= 0 && !client.closed) order.push(...order.splice(i, 1))
  }
  client.on('client:broker:failed', demote)
  client.on('client:broker:disconnect', demote)
}

/**
 * For whoever takes a writer's name, whoever had it before: the library would ask for producer 0, and be told that it is
 * another's ("what a killed process left unfinished").
 */
export const ANEW = { producerId: -1n, producerEpoch: -1 } as never

/**
 * The library sends an end that is not answered once more, as of the same epoch: the first, which may be in a broker that
 * stood still, would end what is begun next ("an end that was sent twice").
 */
export const onEndSentAgain = (client: Base, told: () => void) =>
  client.on('client:performWithRetry:retry', (operation: string) => {
    if (operation === 'endTransaction') told()
  })

/**
 * A request in the newest version that both sides know. The library has no method for some: positions as of a generation
 * that is given, all in one commit, or asked stably on a connection of our choice (ownership.test.ts).
 */
export const newest = <A extends unknown[], R>(client: Base, name: string) =>
  new Promise<API<A, R>>((resolve, reject) =>
    client[kGetApi]<A, R>(name, (error, found) => (error ? reject(error) : resolve(found!))),
  )
/** As the library tries its own requests again. */
export const retried = <R>(client: Base, name: string, ask: () => Promise<R>) =>
  new Promise<R>((resolve, reject) =>
    client[kPerformWithRetry]<R>(
      name,
      (done) => void ask().then((found) => done(null, found), done),
      (error, found) => (error ? reject(error) : resolve(found!)),
    ),
  )
