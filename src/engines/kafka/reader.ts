import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { TakenOver } from '../../io/errors.ts'
import { orAborted } from '../../run/loop.ts'
import {
  BATCH_BYTES,
  type Batch,
  type Lease,
  type LeaseName,
  type Notes,
  READERS,
  type Reader,
  type ReaderName,
  type Records,
  type TopicName,
  type Writes,
} from '../../topic/topic.ts'
import { discard, type Extent, type Kafka } from './client.ts'
import { type Entry, everywhere, type Named, toEntry } from './codec.ts'
import { saysBroker } from './errors.ts'
import { earlier, type GroupConsumer, type Position, type Term } from './group.ts'
import { holds } from './lag.ts'
import type { Member, Owned } from './member.ts'
import type { Message } from './writer.ts'

/** ms that a broker may wait for new records before it answers that there are none */
const FETCH_WAIT = 500
/** ms after which the next heartbeat has told of a rebalance, and a broker that stood still knows of it */
const HEARD = 1000
/** What a broker says of a commit while a rebalance is on its way, or when another process has the writer's name. */
const REBALANCING = [
  'ILLEGAL_GENERATION',
  'UNKNOWN_MEMBER_ID',
  'REBALANCE_IN_PROGRESS',
  'INVALID_PRODUCER_EPOCH',
  'PRODUCER_FENCED',
]
/** A partition that is this process's. `queue`: from the position on; `read` of them have been handed out. */
type Part<T> = Owned & { partition: number; next?: bigint; term?: Term | undefined; queue: Entry<T>[]; read: number }

/** What the readers share with the topics that they belong to. */
export type Shared = {
  kafka: Kafka
  log: Logger
  named: Named
  group(name: string): string
  join<P extends Owned>(name: ReaderName | LeaseName, topic: string, make: (partition: number) => P): Member<P>
  messages(writes: Writes, notes: Notes): Message[]
  /** From here on all that was noted before is read, if there is only one reader of this name at a time. */
  catchUp(name: string): Promise<void>
  session: number | undefined
  stuck: number
}

/** `begin` resolves once it is this process's turn, with what a lease is made of. */
export type KafkaReader<T> = Reader<T> & { begin(signal: AbortSignal): Promise<Pick<Lease, 'lost' | 'note'>> }

export function kafkaReader<T extends TopicName>(
  { kafka, log, named, group, join, messages, session, stuck, catchUp }: Shared,
  topic: T,
  name: ReaderName,
): KafkaReader<Records[T]> {
  type Mine = Part<Records[T]>
  let made: ReturnType<typeof join<Mine>> | undefined
  const make = (partition: number): Mine => ({ lost: new AbortController(), partition, queue: [], read: 0 })
  const member = () => (made ??= join(name, named(topic), make))
  const parts = () => [...member().partitions.values()]
  const current = ({ lost }: Mine) => !lost.signal.aborted
  const setsAside = name === READERS[topic][0] // the others pass by what is foreign
  let looker: GroupConsumer | undefined
  const fetches = new Map<number, Promise<void>>() // under way, by node
  let turnOf = 0 // which partition is looked at, and fetched, first
  let aside: Promise<void> | undefined // foreign messages are being set aside
  let writer: { name: number; write: ReturnType<Kafka['writer']>['write']; close(): void } | undefined
  let moving: Promise<unknown> = Promise.resolve()
  let waitingSince = 0
  let suspect = false

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
      if (writer?.name === partition) closeWriter() // the name is taken anew
      const former = kafka.writer(`${group(name)}-${partition}`)
      const positions = { groupId: group(name), topic: named(topic), partitions: [partition] }
      await former.take({ topics: everywhere(named), positions }).finally(() => former.close())
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

  async function fetch(by: GroupConsumer, node: number, from: Mine[]) {
    const offsets = from.map(({ partition, next, term }) => ({ partition, offset: next!, term }))
    try {
      const found = await kafka.fetch(by, named(topic), offsets, { node, wait: FETCH_WAIT })
      for (const [i, part] of from.entries()) {
        const answer = found.get(part.partition)
        if (!answer || !current(part) || part.next !== offsets[i]!.offset) continue
        part.queue.push(...answer.records.map((committed) => toEntry(topic, committed)))
        Object.assign(part, { next: answer.next, term: answer.term })
      }
    } catch (error) {
      if (by !== looker) return
      startOver()
      if (!saysBroker(error, 'OFFSET_OUT_OF_RANGE') || !(await toTheOldest(from))) throw error
    }
  }
  /** What the client has known, and what it is waiting for, is forgotten: it may be the trouble. */
  function startOver() {
    if (looker) discard(looker)
    looker = undefined
    fetches.clear()
  }
  /** Records that were not read yet are gone: somebody removed them, or made the topic anew. */
  async function toTheOldest(from: Mine[]): Promise<boolean> {
    const extents = await kafka.extents(named(topic))
    const lost = from.filter(({ partition, next }) => !holds(extents[partition]!, next!))
    if (lost.some(({ partition, term }) => earlier(extents[partition]!.term, term))) return false // it stood still
    for (const part of lost) {
      const { start, end } = extents[part.partition]!
      log.error(
        `${name}: ${named(topic)}-${part.partition} has no offset ${part.next} any more, it has ${start} to ${end}: records were removed before they were read; going on with the oldest`,
      )
      part.next = start
    }
    return lost.length > 0
  }
  /** Waits until there may be more to read. */
  async function pump(signal: AbortSignal) {
    looker ??= kafka.looker(named(topic))
    const by = looker
    const leaders = await orAborted(signal, kafka.named(kafka.leaders(by, named(topic))))
    const known = inTurn().filter((part) => part.next !== undefined)
    for (const [node, from] of Map.groupBy(known, ({ partition }) => leaders[partition]!)) {
      if (fetches.has(node)) continue
      const fetching = fetch(by, node, from).finally(() => fetches.get(node) === fetching && fetches.delete(node))
      fetches.set(node, fetching)
    }
    if (fetches.size > 0) await orAborted(signal, kafka.named(Promise.race(fetches.values())))
  }
  function wait() {
    waitingSince = performance.now()
    suspect = false
  }
  /** Brokers and libraries have been seen to stop without a word. */
  async function watch(signal: AbortSignal) {
    if (performance.now() - waitingSince < stuck) return
    const behind = (ends: Extent[]) =>
      parts().reduce((sum, { partition, next = 0n }) => sum + Math.max(0, Number(ends[partition]!.end - next)), 0)
    const written = behind(await orAborted(signal, kafka.named(kafka.ends(named(topic), { unfinished: true }))))
    if (written > 0 && !suspect) {
      suspect = true // unless the next fetch brings it
      return
    }
    wait()
    if (written === 0) return
    const got = `${name} got none of the ${written} messages that ${named(topic)} has for it, for ${stuck / 1000} s`
    if (behind(await orAborted(signal, kafka.named(kafka.ends(named(topic))))) > 0) {
      log.warn(`${got}; starting over with new connections`)
      startOver()
    } else
      log.warn(
        `${got}: another program has begun a transaction and has not ended it; the brokers end it when its time is over, after 15 min at most unless they are told otherwise`,
      )
  }

  async function read(limit: number, signal: AbortSignal): Promise<Batch<Records[T]>> {
    wait()
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
        await pump(signal)
        await watch(signal)
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
        oneByOne(async () => {
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
          const held = new Map(touched.map(({ part }) => [part, positionOf(part)]))
          for (const { part, entry } of passed) held.set(part, entry.offset + 1n)
          await move(held, all)
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
  const positionOf = (part: Mine) => part.queue[0]?.offset ?? part.next!
  /** A position that was looked at while it is being moved would be moved back. */
  function oneByOne(work: () => Promise<void>): Promise<void> {
    const done = moving.then(work)
    moving = done.catch(() => {})
    return done
  }
  /** Moves positions and writes, in one transaction, while the partitions are this process's. */
  async function move(to: Map<Mine, bigint>, all: Message[]) {
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

  return {
    async begin(signal) {
      await own(signal)
      const part = parts().find(({ next }) => next !== undefined)!
      const note = (notes: Notes) => oneByOne(() => move(new Map([[part, positionOf(part)]]), messages({}, notes)))
      return { lost: part.lost.signal, note }
    },
    read,
    seekToEnd: (notes) =>
      oneByOne(async () => {
        const ends = await kafka.named(kafka.ends(named(topic)))
        const mine = parts().filter(({ next }) => next !== undefined)
        if (mine.length === 0) throw new TakenOver(name)
        const to = new Map(mine.map((part) => [part, ends[part.partition]!.end]))
        await move(to, messages({}, notes))
        for (const [part, next] of to) Object.assign(part, { next, queue: [], read: 0 })
      }),
    rewind() {
      for (const part of parts()) part.read = 0
    },
  }
}

/** Waits for what brokers say of a rebalance to get here, but not for ever. */
const rebalanced = (changed: Promise<void>, most: number): Promise<unknown> =>
  Promise.race([changed, sleep(most, undefined, { ref: false })])
