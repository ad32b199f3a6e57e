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
import { type Entry, everywhere } from './codec.ts'
import { saysBroker } from './errors.ts'
import type { Position } from './group.ts'
import { openPositions, REBALANCING, rebalanced } from './positions.ts'
import { openPull } from './pull.ts'
import type { Part, Shared } from './shared.ts'

/** ms after which the next heartbeat has told of a rebalance, and a broker that stood still knows of it */
const HEARD = 1000
/** `begin` resolves once it is this process's turn, with what a lease is made of. */
export type KafkaReader<T> = Reader<T> & { begin(signal: AbortSignal): Promise<Pick<Lease, 'lost' | 'note'>> }

export function kafkaReader<T extends TopicName>(shared: Shared, topic: T, name: ReaderName): KafkaReader<Records[T]> {
  const { kafka, log, named, group, join, messages, catchUp } = shared
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

  /** Resolves when at least one partition is here, and its position known. */
  async function own(signal: AbortSignal) {
    for (;;) {
      await orAborted(signal, kafka.named(member().joined()))
      const fresh = parts().filter((part) => part.next === undefined)
      if (fresh.length > 0) await orAborted(signal, kafka.named(begin(fresh)))
      if (parts().some((part) => part.next !== undefined)) return
      if (parts().length === 0) await orAborted(signal, member().changed())
    }
  }
  /** What a process that had them before left unfinished is aborted first; else its end would have to be waited for. */
  async function begin(fresh: Mine[]): Promise<unknown> {
    for (const { partition } of fresh) {
      positions.forget(partition) // the name is taken anew
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

  async function read(limit: number, signal: AbortSignal): Promise<Batch<Records[T]>> {
    pull.wait()
    for (;;) {
      signal.throwIfAborted()
      if (aside) await orAborted(signal, aside)
      await own(signal)
      const entries = gather(limit)
      if (entries.some(({ entry }) => entry.record)) return makeBatch(entries)
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
  async function setAside(foreign: Parameters<typeof makeBatch>[0]) {
    try {
      await makeBatch(foreign).commit(0)
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
    const taken: { part: Mine; entry: Entry<Records[T]> }[] = []
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

  function makeBatch(entries: { part: Mine; entry: Entry<Records[T]> }[]): Batch<Records[T]> {
    const records = entries.flatMap(({ entry }) => (entry.record === undefined ? [] : [entry.record]))
    let done = 0 // entries
    let left = records.length
    return {
      records,
      commit: (count, writes = {}, notes = {}) =>
        positions.oneByOne(async () => {
          if (count < 0 || count > left) throw new RangeError(`cannot commit ${count} of ${left} records`)
          let end = done
          for (let open = count; end < entries.length; end++) {
            if (entries[end]!.entry.letter) continue // goes with its neighbours
            if (open-- === 0) break
          }
          const passed = entries.slice(done, end)
          const letters = setsAside ? passed.flatMap(({ entry: { letter } }) => letter ?? []) : []
          const all = messages({ ...writes, 'dead-letters': [...(writes['dead-letters'] ?? []), ...letters] }, notes)
          if (passed.length === 0 && all.length === 0) return
          // One partition at least, if only as it is: what is written is refused when that is another's by then.
          const touched = passed.length > 0 ? passed : [entries[done] ?? entries.at(-1)!]
          const held = new Map(touched.map(({ part }) => [part, positions.of(part)]))
          for (const { part, entry } of passed) held.set(part, entry.offset + 1n)
          await positions.move(held, all)
          for (const [part, position] of held) {
            const gone = part.queue.findIndex(({ offset }) => offset >= position)
            part.read = Math.max(0, part.read - part.queue.splice(0, gone < 0 ? part.queue.length : gone).length)
          }
          for (const { reason } of letters) log.warn(`${reason}; set aside in dead-letters`)
          done = end
          left -= count
        }),
    }
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
