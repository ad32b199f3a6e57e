import { isDeepStrictEqual } from 'node:util'
import { decodeNote, type Topics } from '../../topic/topic.ts'
import type { Kafka } from './client.ts'
import { holds } from './lag.ts'
import type { Extent } from './reads.ts'

/** What was noted, read from the topic of the notes: of each key the last counts. */
export function openNotes(kafka: Kafka, topic: string): Topics['state'] {
  const followed = new Map<string, { to: Extent[]; found: Map<string, Buffer> }>() // by key, of those asked for alone

  return async (wanted, { exact = false } = {}) => {
    const to = await kafka.named(kafka.extents(topic, { whole: true }))
    const before = exact ? followed.get(wanted) : undefined
    const goesOn = before?.to.every(({ term, end }, i) => isDeepStrictEqual(term, to[i]!.term) && holds(to[i]!, end))
    // Reads on from where it was: all of them each time would be a lot.
    const parts = goesOn ? to.map((extent, i) => ({ ...extent, start: before!.to[i]?.end ?? extent.start })) : to
    const found = new Map(goesOn ? before!.found : [])
    for await (const { record } of kafka.scan(topic, parts)) {
      const key = record.key?.toString() ?? ''
      if (exact ? key !== wanted : !key.startsWith(wanted)) continue
      if (record.value) found.set(key, record.value)
      else found.delete(key)
    }
    if (exact) followed.set(wanted, { to, found })
    return new Map(
      [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [key, decodeNote(key, value.toString())]),
    )
  }
}
