import { isDeepStrictEqual } from 'node:util'
import { decodeNote, type Topics } from '../../topic/topic.ts'
import type { Kafka } from './client.ts'
import { holds } from './lag.ts'
import type { Extent } from './reads.ts'

/** What was noted, read from the topic of the notes: of each key the last counts. */
export function openNotes(kafka: Kafka, topic: string): Pick<Topics, 'state' | 'latest'> {
  const followed = new Map<string, { to: Extent; value?: Buffer | undefined }>() // by key
  return {
    async state(prefix) {
      const found = new Map<string, Buffer>()
      const extents = await kafka.named(kafka.extents(topic, { whole: true }))
      for await (const { record } of kafka.scan(topic, extents)) {
        const key = record.key?.toString() ?? ''
        if (!key.startsWith(prefix)) continue
        if (record.value) found.set(key, record.value)
        else found.delete(key)
      }
      return new Map(
        [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [key, decodeNote(key, value.toString())]),
      )
    },
    /** Reads on from where it was: all of them each time would be a lot. */
    async latest(key) {
      const [to] = (await kafka.named(kafka.extents(topic, { whole: true }))) as [Extent]
      const before = followed.get(key)
      const goesOn = before && isDeepStrictEqual(before.to.term, to.term) && holds(to, before.to.end)
      let value = goesOn ? before.value : undefined
      for await (const { record } of kafka.scan(topic, [{ ...to, start: goesOn ? before.to.end : to.start }]))
        if (record.key?.toString() === key) value = record.value ?? undefined
      followed.set(key, { to, value })
      return value && decodeNote(key, value.toString())
    },
  }
}
