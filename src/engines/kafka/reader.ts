import { TakenOver } from '../../io/errors.ts'
import { orAborted } from '../../run/loop.ts'
import {
  BATCH_BYTES,
  type Batch,
  type Lease,
  type Notes,
  READERS,
  type Reader,
  type ReaderName,
  type Records,
  type TopicName,
} from '../../topic/topic.ts'
import { kafkaBatch, type Taken } from './batch.ts'
import { openPositions } from './positions.ts'
import { openPull } from './pull.ts'
import type { Part, Shared } from './shared.ts'

/** `begin` resolves once it is this process's turn, with what a lease is made of. */
export type KafkaReader<T> = Reader<T> & { begin(signal: AbortSignal): Promise<Pick<Lease, 'lost' | 'note'>> }

export function kafkaReader<T extends TopicName>(shared: Shared, topic: T, name: ReaderName): KafkaReader<Records[T]> {
  const { kafka, log, named, join, messages } = shared
  type Mine = Part<Records[T]>
  let made: ReturnType<typeof join<Mine>> | undefined
  const make = (partition: number): Mine => ({ lost: new AbortController(), partition, queue: [], read: 0 })
  const member = () => (made ??= join(name, named(topic), make))
  const parts = () => [...member().partitions.values()]
  const setsAside = name === READERS[topic][0] // the others pass by what is foreign
  let turnOf = 0 // which partition is looked at, and fetched, first
  let aside: Promise<void> | undefined // foreign messages are being set aside
  const pull = openPull(shared, topic, name, inTurn)
  const positions = openPositions(shared, topic, name, member)
  const batch = (entries: Taken<Records[T]>[]) => kafkaBatch({ messages, log, positions, setsAside }, entries)

  /** Resolves when at least one partition is here, and its position known. */
  async function own(signal: AbortSignal) {
    for (;;) {
      await orAborted(signal, kafka.named(member().joined()))
      const fresh = parts().filter((part) => part.next === undefined)
      if (fresh.length > 0) await orAborted(signal, kafka.named(positions.find(fresh)))
      if (parts().some((part) => part.next !== undefined)) return
      if (parts().length === 0) await orAborted(signal, member().changed())
    }
  }
  async function read(limit: number, signal: AbortSignal): Promise<Batch<Records[T]>> {
    pull.wait()
    for (;;) {
      signal.throwIfAborted()
      if (aside) await orAborted(signal, aside)
      await own(signal)
      const entries = gather(limit)
      if (entries.some(({ entry }) => entry.record)) return batch(entries)
      for (const { part } of entries) part.read--
      // Foreign messages alone. After what is in hand they have to wait: the position would move past that too.
      const foreign = entries.filter(({ part }) => part.read === 0)
      if (foreign.length > 0) {
        aside = setAside(foreign).finally(() => {
          aside = undefined
        })
        aside.catch(() => {})
      } else {
        await pull.more(signal)
        await pull.watch(signal)
      }
    }
  }
  async function setAside(foreign: Taken<Records[T]>[]) {
    try {
      await batch(foreign).commit(0)
    } catch (error) {
      if (!(error instanceof TakenOver)) throw error // the other process sees them too
    }
  }
  /** No partition waits until another one is read. */
  function inTurn() {
    const all = parts()
    return all.map((_, i) => all[(i + turnOf) % all.length]!)
  }
  function gather(limit: number) {
    const taken: Taken<Records[T]>[] = []
    let left = limit
    let bytes = 0
    for (const part of inTurn()) {
      while (left > 0 && bytes < BATCH_BYTES && part.read < part.queue.length) {
        const next = part.queue[part.read++]!
        bytes += next.bytes
        if (!next.letter) left--
        taken.push({ part, entry: next })
      }
    }
    turnOf++
    return taken
  }

  return {
    async begin(signal) {
      await own(signal)
      const part = parts().find(({ next }) => next !== undefined)!
      const note = (notes: Notes) =>
        positions.oneByOne(() => positions.move(new Map([[part, positions.of(part)]]), messages({}, notes)))
      return { lost: part.lost.signal, note }
    },
    read,
    seekToEnd: (notes) =>
      positions.oneByOne(async () => {
        const ends = await kafka.named(kafka.ends(named(topic)))
        const mine = parts().filter(({ next }) => next !== undefined)
        if (mine.length === 0) throw new TakenOver(name)
        const to = new Map(mine.map((part) => [part, ends[part.partition]!.end]))
        await positions.move(to, messages({}, notes))
        for (const [part, next] of to) Object.assign(part, { next, queue: [], read: 0 })
      }),
    rewind() {
      for (const part of parts()) part.read = 0
    },
  }
}
