import { orAborted } from '../../run/loop.ts'
import type { Notes, Writes } from '../../topic/topic.ts'
import type { Kafka } from './client.ts'
import { everywhere } from './codec.ts'
import type { Member, Owned } from './member.ts'
import type { Shared } from './shared.ts'

/** Resolves once it is this process that fetches: `appendBy` is given the writer for what it appends from then on. */
export function kafkaFetcher(
  { kafka, named, group, join, catchUp }: Shared,
  appendBy: (writer: ReturnType<Kafka['writer']>) => (writes: Writes, notes: Notes) => Promise<void>,
) {
  let member: Member<Owned> | undefined
  return async (stop: AbortSignal) => {
    stop.throwIfAborted()
    member ??= join('fetch', named('notes'), () => ({ lost: new AbortController() }))
    for (;;) {
      await orAborted(stop, kafka.named(member.joined()))
      const [mine] = member.partitions.values()
      if (!mine) {
        await orAborted(stop, member.changed())
        continue
      }
      // Under one name, so that what a process left unfinished when it was killed is not waited for.
      const writer = kafka.writer(group('fetch'))
      await orAborted(stop, kafka.named(writer.take({ topics: everywhere(named) })))
      const append = appendBy(writer)
      await orAborted(stop, catchUp('fetch'))
      const lost = mine.lost.signal
      const note = async (notes: Notes) => {
        lost.throwIfAborted()
        await append({}, notes)
      }
      return { lost, note }
    }
  }
}
