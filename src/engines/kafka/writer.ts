import { setTimeout as sleep } from 'node:timers/promises'
import { type MessageToProduce, ProduceAcks, type Producer } from '@platformatic/kafka'
import type { Logger } from 'pino'
import { seconds } from '../../io/text.ts'
import { backoff } from '../../run/loop.ts'
import { explained, saysBroker, within } from './errors.ts'
import { type Membership, movePositions, type Position } from './group.ts'
import { ANEW } from './workarounds.ts'

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
type Cluster = {
  where: string
  /** A producer of this name, closed with the others at the end. */
  open(name: string): Producer<Buffer, Buffer, Buffer, Buffer>
  scan(topic: string, parts: { partition: number; start: bigint; end: bigint }[]): AsyncIterable<unknown>
  /** offset written last, by topic and partition */
  latest: Map<string, bigint>
  closing: AbortSignal
  log: Logger
}

/**
 * Writes under one name, one transaction after the other. A second writer of the same name, in any process, ends what
 * the first was writing: nothing of it will ever be read.
 */
export function openWriter({ where, open, scan, latest, closing, log }: Cluster, name: string) {
  let producer: Producer<Buffer, Buffer, Buffer, Buffer> | undefined
  let last: Promise<unknown> = Promise.resolve()
  let most = REQUEST_BYTES

  async function begin() {
    producer ??= open(name)
    const by = producer
    return { by, transaction: await by.beginTransaction(ANEW) }
  }
  /** What is unfinished under the name is aborted, and will stay so. */
  async function fence() {
    try {
      await within(begin().then(({ transaction }) => transaction.cancel()))
    } catch (error) {
      drop()
      throw error
    }
  }
  function drop() {
    producer?.close().catch(() => {}) // it may have lost its broker
    producer = undefined
  }

  async function write(messages: readonly Message[], positions?: Positions): Promise<void> {
    const written: { topic: string; partition: number; offset: bigint }[] = []
    let committing = false
    const prepare = async () => {
      const { by, transaction } = await begin()
      try {
        for (const part of parted(messages, most)) {
          const compression = sizeOf(part[0]!) > REQUEST_BYTES ? 'zstd' : 'none'
          const sent = transaction.send({ messages: part, acks: ProduceAcks.ALL, compression })
          const { offsets = [] } = await sent.catch((error) => {
            throw saysBroker(error, 'MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE') ? new TooLarge(part, error) : error
          })
          written.push(...offsets)
        }
        if (positions) {
          await transaction.addConsumer(positions.by.consumer)
          await movePositions(by, name, positions.by, positions.topic, positions.next)
        }
        return transaction
      } catch (error) {
        await transaction.abort().catch(() => {}) // or the brokers do, when its time is over
        throw error
      }
    }
    try {
      const transaction = await within(prepare())
      committing = true
      await within(transaction.commit())
    } catch (error) {
      drop()
      if (!committing || !(await done(written, positions))) throw error
    }
    for (const { topic, partition, offset } of written) latest.set(`${topic}-${partition}`, offset)
  }

  /** Nobody knows whether the last commit was heard. When the name is taken anew it is over, one way or the other. */
  async function done(
    written: { topic: string; partition: number; offset: bigint }[],
    moved?: Positions,
  ): Promise<boolean> {
    for (let failures = 1; ; failures++) {
      try {
        await fence()
        const [first] = written
        if (first) {
          const { topic, partition, offset: start } = first
          for await (const _ of scan(topic, [{ partition, start, end: start + 1n }])) return true
          return false
        }
        return await moved!.reached()
      } catch (error) {
        const wait = backoff(failures)
        if (failures > 1)
          log.warn(
            `did ${where} do the last commit? ${explained(error).message}; nothing is repeated before that is known; asking again in ${seconds(wait)} s`,
          )
        await sleep(wait, undefined, { signal: closing })
      }
    }
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
    fence,
    close: drop,
  }
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
