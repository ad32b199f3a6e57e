import { setTimeout as sleep } from 'node:timers/promises'
import { type MessageToProduce, ProduceAcks } from '@platformatic/kafka'
import type { Logger } from 'pino'
import { seconds } from '../../io/text.ts'
import { backoff } from '../../run/loop.ts'
import { explained, saysBroker, within } from './errors.ts'
import { type Membership, movePositions, type Position } from './group.ts'
import { type Cluster as Named, openTransactions, type Place, type Touched, type Transaction } from './transactions.ts'

/** bytes of the records in one request; a record that is larger goes alone, compressed */
const REQUEST_BYTES = 700_000

/** `shorter`: what is written in its place where the brokers take no record so large */
export type Message = MessageToProduce<Buffer, Buffer, Buffer, Buffer> & { shorter?: () => Message }
/** The brokers take no records so large together: nothing is written. */
class TooLarge extends Error {
  readonly part: readonly Message[]
  constructor(part: readonly Message[], cause: unknown) {
    super('too large', { cause })
    this.part = part
  }
}
/** Positions of a group that move together with what is written, while the partitions are this member's. */
export type Positions = {
  by: Membership
  topic: string
  next: Position[]
  /** Are they there? Asked when it is over, and nobody knows how it ended. */
  reached(): Promise<boolean>
}
type Written = Place & { offset: bigint }
type Ended = { places: Written[]; positions: Touched['positions'] }
type Cluster = Named & {
  where: string
  scan(topic: string, parts: { partition: number; start: bigint; end: bigint }[]): AsyncIterable<unknown>
  /** offset written last, by topic and partition */
  latest: Map<string, bigint>
  log: Logger
}

/**
 * Writes under one name, one transaction after the other. A second writer of the same name, in any process, ends what
 * the first was writing: nothing of it will ever be read.
 */
export function openWriter(cluster: Cluster, name: string) {
  const { where, scan, latest, closing, log } = cluster
  const own = openTransactions(cluster, name)
  let last: Promise<unknown> = Promise.resolve()
  let most = REQUEST_BYTES

  async function write(messages: readonly Message[], moved?: Positions): Promise<void> {
    const written: Written[] = []
    const positions = moved && {
      groupId: moved.by.consumer.groupId,
      topic: moved.topic,
      partitions: moved.next.map(({ partition }) => partition),
    }
    let committing = false
    const prepare = async () => {
      const { by, transaction } = await own.begin({ topics: messages.map(({ topic }) => topic), positions })
      try {
        for (const part of parted(messages, most)) written.push(...(await send(transaction, part)))
        if (moved) {
          await transaction.addConsumer(moved.by.consumer)
          await movePositions(by, name, moved.by, moved.topic, moved.next)
        }
        return transaction
      } catch (error) {
        await transaction.abort().catch(() => {}) // or the brokers do, when its time is over
        throw error
      }
    }
    let failure: unknown
    try {
      const transaction = await within(prepare())
      committing = true
      await within(own.commit(transaction))
    } catch (error) {
      own.drop()
      failure = error
    }
    const touched = { places: written, positions }
    if (!committing || !(await done(touched, moved, failure === undefined))) throw failure
    for (const { topic, partition, offset } of written) latest.set(`${topic}-${partition}`, offset)
  }

  /**
   * Whether the last commit was done, once that is so in every log. If nobody knows whether it was heard, it is over when
   * the name is taken anew, one way or the other.
   */
  async function done(touched: Ended, moved: Positions | undefined, heard: boolean) {
    for (let failures = 1, known = heard; ; failures++) {
      try {
        if (!known) await own.fence()
        const was = known || (await look(touched, moved))
        await own.end(touched, was)
        return was
      } catch (error) {
        own.drop()
        known = false
        const wait = backoff(failures)
        log.warn(
          `did ${where} do the last commit? ${explained(error).message}; nothing is repeated before that is known; asking again in ${seconds(wait)} s`,
        )
        await sleep(wait, undefined, { signal: closing })
      }
    }
  }
  /** Looks where its end is known. If it is nowhere, either end will do. */
  async function look({ places, positions }: Ended, moved?: Positions): Promise<boolean> {
    const open = await own.unended(places)
    const ended = places.find((at) => !open.some((it) => it.topic === at.topic && it.partition === at.partition))
    if (!ended) return positions !== undefined && (await own.stable(positions)) && moved!.reached()
    const { topic, partition, offset: start } = ended
    for await (const _ of scan(topic, [{ partition, start, end: start + 1n }])) return true
    return false
  }

  /** What the brokers find too large is written in smaller parts, and what is too large by itself shorter. */
  async function fitted(messages: readonly Message[], positions?: Positions): Promise<void> {
    try {
      await write(messages, positions)
    } catch (error) {
      if (!(error instanceof TooLarge)) throw error
      const [first, ...others] = error.part
      if (others.length === 0 && !first!.shorter) throw error
      if (others.length > 0) most /= 2
      const shorter = others.length === 0 ? first!.shorter!() : first!
      await fitted(
        messages.map((message) => (message === first ? shorter : message)),
        positions,
      )
    }
  }

  return {
    /** Resolves once all of it is durable; rejects only when nothing of it is, or when closed before that is known. */
    write(messages: readonly Message[], positions?: Positions): Promise<void> {
      const written = last.then(() => fitted(messages, positions))
      last = written.catch(() => {})
      return written
    },
    take: own.take,
    close: own.drop,
  }
}
async function send(transaction: Transaction, messages: Message[]): Promise<Written[]> {
  const compression = sizeOf(messages[0]!) > REQUEST_BYTES ? 'zstd' : 'none'
  const sent = transaction.send({ messages, acks: ProduceAcks.ALL, compression })
  const { offsets = [] } = await sent.catch((error) => {
    throw saysBroker(error, 'MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE') ? new TooLarge(messages, error) : error
  })
  return offsets
}
const sizeOf = ({ value }: Message) => (value?.length ?? 0) + 100
/** In parts that fit into a request. */
function* parted(messages: readonly Message[], most: number): Generator<Message[]> {
  let part: Message[] = []
  let bytes = 0
  for (const message of messages) {
    const size = sizeOf(message)
    if (bytes + size > most && part.length > 0) {
      yield part
      part = []
      bytes = 0
    }
    part.push(message)
    bytes += size
  }
  if (part.length > 0) yield part
}
