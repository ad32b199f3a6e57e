import type { ConsumerGroupJoinPayload, GroupPartitionsAssigner } from '@platformatic/kafka'
import type { Logger } from 'pino'
import { TakenOver } from '../../io/errors.ts'
import type { LeaseName, ReaderName, Standby } from '../../topic/topic.ts'
import type { Kafka } from './client.ts'
import { within } from './errors.ts'
import { type GroupConsumer, type Membership, positionsOf } from './group.ts'

/**
 * ms without a heartbeat after which the group takes a process for dead, and gives its partitions to the others; brokers
 * accept no less unless told to (group.min.session.timeout.ms)
 */
export const SESSION = 6000
/** ms between heartbeats; the next one tells that somebody has joined or left */
const HEARTBEAT = 1000
/** ms after which joining is slow: a group that begins waits for more members, 3 s unless told otherwise */
const SLOW = 4000

export type MemberOptions = {
  /** of the reader or turn, for messages */
  name: ReaderName | LeaseName
  group: string
  topic: string
  /** One process has all partitions and the others stand by; otherwise they are shared out. */
  alone: boolean
  log: Logger
  standby: Standby | undefined
  /** Called when joining takes its time. */
  slow(session: number): void
  /** ms, for tests */
  session?: number | undefined
}
/** `lost` is aborted when it may be another process's. */
export type Owned = { lost: AbortController }
export type Member<P extends Owned> = ReturnType<typeof openMember<P>>

/**
 * A process's part in a consumer group. Each partition that it is given is represented by an object from `make`; it stays
 * the same object through rebalances as long as no other process can have had the partition in between.
 */
export function openMember<P extends Owned>(
  kafka: Kafka,
  { name, group, topic, alone, log, standby, slow, session = SESSION }: MemberOptions,
  make: (partition: number) => P,
) {
  const partitions = new Map<number, P>()
  let [consumer, joining]: [GroupConsumer?, Promise<void>?] = []
  let membership: Membership | undefined // in which `partitions` are this process's
  let changed = Promise.withResolvers<void>()
  let [standing, closed] = [false, false]

  function assigned(by: GroupConsumer, { memberId, generationId = 0, assignments = [] }: ConsumerGroupJoinPayload) {
    const unbroken = memberId === membership?.memberId && generationId === membership.generationId + 1
    membership = { consumer: by, memberId, generationId }
    const mine = assignments.flatMap((assignment) => assignment.partitions)
    for (const partition of [...partitions.keys()]) if (!unbroken || !mine.includes(partition)) lose(partition)
    for (const partition of mine) if (!partitions.has(partition)) partitions.set(partition, make(partition))
    if (partitions.size === 0 && !standing)
      log.info(`${alone ? 'another process has its turn' : 'every partition has its process'} as ${name}; standing by`)
    else if (partitions.size > 0 && standing) log.info(`it is this process's turn as ${name}`)
    stand(partitions.size === 0)
    turnOver()
  }
  function lose(partition: number) {
    partitions.get(partition)!.lost.abort(new TakenOver(name))
    partitions.delete(partition)
  }
  function stand(by: boolean) {
    if (by !== standing) standby?.(name, by)
    standing = by
  }
  function turnOver() {
    changed.resolve()
    changed = Promise.withResolvers<void>()
  }

  async function join() {
    const made = kafka.consumer({ groupId: group, ...membershipOf(alone, session) })
    made.on('consumer:group:join', (payload) => made === consumer && assigned(made, payload))
    made.on('error', () => made === consumer && void leave()) // it could not join again, and no longer tries
    // No answer for `session` ms: who has partitions meets that at work, who stands by would go on for ever.
    made.on('consumer:heartbeat:stalled', () => made === consumer && standing && void leave())
    made.topics.track(topic)
    consumer = made
    const timer = setTimeout(() => slow(session), SLOW)
    try {
      await within(made.joinGroup({}))
    } catch (error) {
      void leave()
      throw error
    } finally {
      clearTimeout(timer)
    }
    if (closed) void leave()
  }
  async function leave() {
    const left = consumer
    consumer = undefined
    for (const partition of partitions.keys()) lose(partition)
    membership = undefined
    stand(false) // who is not in the group does not stand by
    turnOver()
    await left?.close(true).catch(() => {}) // then the group finds out by itself
  }

  async function joined() {
    while (joining || !consumer) {
      if (closed) throw new Error('the topics are closed')
      joining ??= join().finally(() => {
        joining = undefined
      })
      await joining
    }
  }

  return {
    partitions: partitions as ReadonlyMap<number, P>,
    /** To be taken in the tick in which `partitions` is looked at: what is done by it is refused once they are another's. */
    membership: () => membership,
    /** Resolves when the process is in the group; it may have no partition. */
    joined,
    /** Where the group goes on, as of this process's generation or later. */
    async positions(wanted: number[]) {
      await joined()
      if (!membership) throw new Error(`no longer in the group ${group}`)
      return within(positionsOf(membership, topic, wanted))
    },
    /** Resolves when partitions come or go. */
    changed: () => changed.promise,
    /** Leaves the group; the next use joins again, and finds every partition new. */
    leave,
    async close() {
      closed = true
      await leave()
    },
  }
}

const membershipOf = (alone: boolean, session: number) => ({
  sessionTimeout: session,
  rebalanceTimeout: session,
  heartbeatInterval: Math.min(HEARTBEAT, session / 3),
  protocols: [{ name: alone ? 'client-predict-alone' : 'roundrobin', version: 1 }],
  ...(alone && { partitionAssigner: allToTheLeader }),
})
/** The leader of a group is its oldest member: whoever joins later disturbs nobody. */
const allToTheLeader: GroupPartitionsAssigner = (leader, members, topics, metadata) =>
  [...members.keys()].map((memberId) => ({
    memberId,
    assignments: new Map(
      memberId === leader
        ? [...topics].map((topic) => {
            const count = metadata.topics.get(topic)!.partitionsCount
            return [topic, { topic, partitions: Array.from({ length: count }, (_, partition) => partition) }]
          })
        : [],
    ),
  }))
