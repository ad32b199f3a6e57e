import { orAborted } from '../run/loop.ts'
import { BATCH_BYTES, type Reader, type Records, type TopicName, type Topics, type Writes } from '../topic/topic.ts'

/** An offset of a topic, or a time in ms since 1970. */
export type Point = { offset: bigint } | { time: number }
/** From a point on, and up to another one: an offset is in it, a time no longer. */
export type Range = { from?: Point | undefined; to?: Point | undefined }

/** Reads --from and --to. Throws with what was given, and what is wanted. */
export function readRange(from: string | undefined, to: string | undefined): Range {
  const range = { from: readPoint('--from', from), to: readPoint('--to', to) }
  const { from: first, to: last } = range
  const offsets = first && last && 'offset' in first && 'offset' in last && first.offset > last.offset
  const times = first && last && 'time' in first && 'time' in last && first.time >= last.time
  if (offsets || times) throw new Error(`--from ${from} --to ${to}: nothing is between them`)
  return range
}

function readPoint(name: string, given: string | undefined): Point | undefined {
  const text = given?.trim()
  if (text === undefined) return undefined
  if (/^\d{1,18}$/.test(text)) return { offset: BigInt(text) }
  const [, day, clock = '00:00', zone = 'Z'] =
    /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?) ?(Z|[+-]\d\d:?\d\d)?)?$/.exec(text) ?? []
  const time = Date.parse(`${day}T${clock}${zone}`)
  const real = !Number.isNaN(time) && new Date(Date.parse(`${day}T00:00Z`)).toISOString().startsWith(day!)
  if (real) return { time }
  const hint = /^\d+-\d+$/.test(text) ? ' (offsets of one Kafka partition cannot be given: give times)' : ''
  throw new Error(
    `${name}: got "${text.slice(0, 80)}"${hint}, wants an offset, or a time in UTC as 2026-11-20, "2026-11-20 10:00" or 2026-11-20T10:00:00+01:00`,
  )
}

/** Throws when offsets are given and the topic has several partitions: each has offsets of its own. */
export async function checkOffsets(topics: Topics, topic: TopicName, { from, to }: Range): Promise<void> {
  if (![from, to].some((point) => point && 'offset' in point)) return
  for await (const { id } of topics.scan(topic)) {
    if (!id.includes('-')) return
    throw new Error(
      `the topic ${topic} has several partitions, each with offsets of its own: give times as --from and --to`,
    )
  }
}

export type RangeReader<T> = Reader<T> & {
  /** the offset to go on from; undefined where there are several partitions, or nothing is done */
  next(): string | undefined
}

/** bytes, roughly: what is large is text */
const sizeOf = (record: object) =>
  Object.values(record).reduce((sum, value) => sum + (typeof value === 'string' ? value.length : 20), 0)

type Entry<T> = { id: string; record: T }

/**
 * Reads a range of a topic as a stage does, without a position: `commit` is told of what is done instead, with the first
 * record's id, and `ended` when nothing is left. `at` is the time of a record that the range is about. When the topic
 * cannot be read it rejects, and goes on from there at the next call.
 */
export function rangeReader<T extends TopicName>(
  topics: Pick<Topics, 'scan'>,
  topic: T,
  { from, to }: Range,
  at: (record: Records[T]) => number,
  commit: (entries: readonly Entry<Records[T]>[], writes: Writes) => Promise<void>,
  ended: () => void,
): RangeReader<Records[T]> {
  const queue: Entry<Records[T]>[] = [] // read and not done
  const last = new Map<string, bigint>() // what was read of each partition
  let scan: AsyncIterator<Entry<Records[T]>> | undefined
  let cursor = 0
  let over = false
  let done: string | undefined

  function within(id: string, record: Records[T]): boolean {
    const after = !from || ('offset' in from ? BigInt(id) >= from.offset : at(record) >= from.time)
    const before = !to || ('offset' in to ? BigInt(id) <= to.offset : at(record) < to.time)
    return after && before
  }
  async function more() {
    scan ??= topics.scan(topic)[Symbol.asyncIterator]()
    try {
      const { value, done } = await scan.next()
      if (done) {
        over = true
        return
      }
      const [offset, partition = ''] = value.id.split('-').reverse()
      if ((last.get(partition) ?? -1n) >= BigInt(offset!)) return // of an earlier scan
      last.set(partition, BigInt(offset!))
      if (within(value.id, value.record)) queue.push(value)
      else if (to && 'offset' in to && BigInt(offset!) > to.offset) over = true
    } catch (error) {
      scan = undefined
      throw error
    }
  }
  return {
    async read(limit, signal) {
      let size = queue.slice(cursor).reduce((sum, { record }) => sum + sizeOf(record), 0)
      while (!over && queue.length - cursor < limit && size < BATCH_BYTES) {
        signal.throwIfAborted()
        const length = queue.length
        await more()
        if (queue.length > length) size += sizeOf(queue.at(-1)!.record)
      }
      if (queue.length === 0) ended()
      else if (queue.length === cursor) await orAborted(signal, new Promise<never>(() => {})) // until what is in hand is done
      signal.throwIfAborted()
      let entries = queue.slice(cursor, cursor + limit)
      cursor += entries.length
      return {
        records: entries.map(({ record }) => record),
        async commit(count, writes = {}) {
          await commit(entries.slice(0, count), writes)
          done = entries[count - 1]?.id ?? done
          entries = entries.slice(count)
          queue.splice(0, count)
          cursor -= count
          if (over && queue.length === 0) ended()
        },
      }
    },
    async seekToEnd() {},
    rewind() {
      cursor = 0
    },
    next: () => (done === undefined || done.includes('-') ? undefined : String(BigInt(done) + 1n)),
  }
}
