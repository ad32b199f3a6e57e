import { orAborted } from '../../run/loop.ts'
import type { ReaderName, Records, TopicName } from '../../topic/topic.ts'
import { toEntry } from './codec.ts'
import { saysBroker } from './errors.ts'
import { earlier, type GroupConsumer } from './group.ts'
import { holds } from './lag.ts'
import { discard, type Extent } from './reads.ts'
import type { Part, Shared } from './shared.ts'

/** ms that a broker may wait for new records before it answers that there are none */
const FETCH_WAIT = 500

/** Fetches from every node that leads partitions of this process, one request each, into the partitions' queues. */
export function openPull<T extends TopicName>(
  { kafka, log, named, stuck }: Shared,
  topic: T,
  name: ReaderName,
  inTurn: () => Part<Records[T]>[],
) {
  let looker: GroupConsumer | undefined
  const fetches = new Map<number, Promise<void>>() // under way, by node
  let waitingSince = 0
  let suspect = false

  async function fetch(by: GroupConsumer, node: number, from: Part<Records[T]>[]) {
    const offsets = from.map(({ partition, next, term }) => ({ partition, offset: next!, term }))
    try {
      const found = await kafka.fetch(by, named(topic), offsets, { node, wait: FETCH_WAIT })
      for (const [i, part] of from.entries()) {
        const answer = found.get(part.partition)
        if (!answer || part.lost.signal.aborted || part.next !== offsets[i]!.offset) continue
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
  async function toTheOldest(from: Part<Records[T]>[]): Promise<boolean> {
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
  async function more(signal: AbortSignal) {
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
      inTurn().reduce((sum, { partition, next = 0n }) => sum + Math.max(0, Number(ends[partition]!.end - next)), 0)
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

  return { more, wait, watch }
}
