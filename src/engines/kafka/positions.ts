import { setTimeout as sleep } from 'node:timers/promises'
import type { ReaderName, TopicName } from '../../topic/topic.ts'
import type { Kafka } from './client.ts'
import { everywhere } from './codec.ts'
import { saysBroker } from './errors.ts'
import type { Position } from './group.ts'
import type { Member } from './member.ts'
import type { Part, Shared } from './shared.ts'
import type { Message } from './writer.ts'

/** What a broker says of a commit while a rebalance is on its way, or when another process has the writer's name. */
const REBALANCING = [
  'ILLEGAL_GENERATION',
  'UNKNOWN_MEMBER_ID',
  'REBALANCE_IN_PROGRESS',
  'INVALID_PRODUCER_EPOCH',
  'PRODUCER_FENCED',
]

/** ms after which the next heartbeat has told of a rebalance, and a broker that stood still knows of it */
const HEARD = 1000
/** Moves the positions of one reader, together with what is written, while its partitions are this process's. */
export function openPositions<T>(
  { kafka, named, group, session, catchUp }: Shared,
  topic: TopicName,
  name: ReaderName,
  member: () => Member<Part<T>>,
) {
  let writer: { name: number; write: ReturnType<Kafka['writer']>['write']; close(): void } | undefined
  let moving: Promise<unknown> = Promise.resolve()

  const of = (part: Part<T>) => part.queue[0]?.offset ?? part.next!
  /** A position that was looked at while it is being moved would be moved back. */
  function oneByOne(work: () => Promise<void>): Promise<void> {
    const done = moving.then(work)
    moving = done.catch(() => {})
    return done
  }
  /** Moves positions and writes, in one transaction, while the partitions are this process's. */
  async function move(to: Map<Part<T>, bigint>, all: Message[]) {
    const next = [...to].map(([{ partition, term }, offset]) => ({ partition, offset, term }))
    const reached = async () => {
      const { partition, offset } = next[0]!
      const [at] = await member().positions([partition])
      return at !== undefined && at.offset >= offset
    }
    for (let tries = 1; ; tries++) {
      // In one tick: whoever is in a later generation when all is written may no longer have the partitions there.
      const by = member().membership()!
      for (const { lost } of to.keys()) lost.signal.throwIfAborted()
      const writer = writerOf(Math.min(...member().partitions.keys()))
      const changed = member().changed()
      try {
        return await kafka.named(writer.write(all, { by, topic: named(topic), next, reached }))
      } catch (error) {
        const { kafka: said } = error as { kafka?: unknown }
        if (!saysBroker(said, ...REBALANCING)) throw error
        if (tries === 3)
          void member().leave() // a rebalance would have come by now
        else await rebalanced(changed, session ?? 10_000)
      }
    }
  }
  /** One name for the lowest partition here: the next process that has it ends what is unfinished under the name. */
  function writerOf(lowest: number) {
    if (writer?.name !== lowest) {
      closeWriter()
      writer = { name: lowest, ...kafka.writer(`${group(name)}-${lowest}`) }
    }
    return writer
  }
  function closeWriter() {
    writer?.close()
    writer = undefined
  }

  /**
   * Finds out where these partitions go on. What a process that had them before left unfinished is aborted first; else its
   * end would have to be waited for.
   */
  async function find(fresh: Part<T>[]): Promise<unknown> {
    for (const { partition } of fresh) {
      if (writer?.name === partition) closeWriter() // the name is taken anew
      const former = kafka.writer(`${group(name)}-${partition}`)
      const moved = { groupId: group(name), topic: named(topic), partitions: [partition] }
      await former.take({ topics: everywhere(named), positions: moved }).finally(() => former.close())
    }
    await catchUp(name)
    const changed = member().changed()
    let found: Position[]
    try {
      found = await member().positions(fresh.map(({ partition }) => partition))
    } catch (error) {
      if (!saysBroker(error, ...REBALANCING)) throw error
      return rebalanced(changed, HEARD) // either it or the broker that was asked is behind
    }
    const starts = found.length < fresh.length ? await kafka.extents(named(topic)) : []
    for (const part of fresh) {
      const at = found.find(({ partition }) => partition === part.partition)
      part.next ??= at?.offset ?? starts[part.partition]!.start
      part.term ??= at?.term
    }
  }

  return { of, oneByOne, move, find }
}

/** Waits for what brokers say of a rebalance to get here, but not for ever. */
const rebalanced = (changed: Promise<void>, most: number): Promise<unknown> =>
  Promise.race([changed, sleep(most, undefined, { ref: false })])
