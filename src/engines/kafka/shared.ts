import type { Logger } from 'pino'
import type { LeaseName, Notes, ReaderName, Writes } from '../../topic/topic.ts'
import type { Kafka } from './client.ts'
import type { Entry, Named } from './codec.ts'
import type { Term } from './group.ts'
import type { Member, Owned } from './member.ts'
import type { Message } from './writer.ts'

/** A partition that is this process's. `queue`: from the position on; `read` of them have been handed out. */
export type Part<T> = Owned & {
  partition: number
  next?: bigint
  term?: Term | undefined
  queue: Entry<T>[]
  read: number
}

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
