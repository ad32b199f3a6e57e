import type { Logger } from 'pino'
import type { Batch } from '../../topic/topic.ts'
import type { Entry } from './codec.ts'
import type { openPositions } from './positions.ts'
import type { Part, Shared } from './shared.ts'

/** A message, and the partition that it came from. */
export type Taken<T> = { part: Part<T>; entry: Entry<T> }
type Options<T> = {
  messages: Shared['messages']
  log: Logger
  positions: ReturnType<typeof openPositions<T>>
  setsAside: boolean
}

/** `setsAside`: foreign messages among them go to the dead letters. */
export function kafkaBatch<T>({ messages, log, positions, setsAside }: Options<T>, entries: Taken<T>[]): Batch<T> {
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
