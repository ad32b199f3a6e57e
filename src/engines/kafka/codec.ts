import { createHash } from 'node:crypto'
import type { Logger } from 'pino'
import { type Json, parse, stringify } from '../../io/json.ts'
import { decode, type Notes, type Records, TOPICS, type TopicName, type Writes } from '../../topic/topic.ts'
import { type DeadLetter, renamed, type Transaction, toTransaction } from '../../transaction.ts'
import type { Committed } from './workarounds.ts'
import type { Message } from './writer.ts'

/** characters that are kept, in dead-letters, of a record that is larger than the brokers take */
const KEPT = 65_536
/** On each record of ours: it needs no proof. */
const OURS = 'client-predict'

/** A topic's name in Kafka. */
export type Named = (topic: TopicName | 'notes') => string
export const everywhere = (named: Named) => [...TOPICS, 'notes' as const].map(named)
/** A record of a topic, or what cannot be one, with the reason. */
export type Entry<T> = { offset: bigint; bytes: number; record?: T; letter?: DeadLetter }

/** Records and notes as messages. */
export function openMessages({ named, log }: { named: Named; log: Logger }) {
  return (writes: Writes, notes: Notes): Message[] => [
    ...TOPICS.flatMap((topic) => (writes[topic] ?? []).map((record) => message(topic, record))),
    ...Object.entries(notes).map(([key, value]) => ({
      topic: named('notes'),
      partition: 0,
      key: Buffer.from(key),
      ...(value !== null && { value: Buffer.from(stringify(value)) }), // none: compaction forgets the key
    })),
  ]
  function message(topic: TopicName, record: Records[TopicName]): Message {
    const text = stringify(record)
    const value = Buffer.from(text)
    const { cc_num } = record as Partial<Transaction>
    return {
      topic: named(topic),
      ...(cc_num === undefined ? { partition: 0 } : { key: Buffer.from(cardToken(cc_num)) }),
      value,
      headers: new Map([[Buffer.from(OURS), Buffer.from('1')]]),
      ...(text.length > KEPT && { shorter: () => beginning(topic, text, value.length) }),
    }
  }
  function beginning(topic: TopicName, text: string, bytes: number): Message {
    const reason = `a record for ${topic} has ${bytes} bytes, more than Kafka takes`
    log.warn(`${reason}; its beginning is set aside in dead-letters; raise max.message.bytes of ${named(topic)}`)
    const record = { body: text.slice(0, KEPT), bytes }
    const { shorter: _, ...letter } = message('dead-letters', { stage: 'fetch', at: Date.now(), reason, record })
    return letter
  }
}

/**
 * What a card's records are kept together by: the first 4 hex digits of the SHA-256 of its number. Enough to spread cards
 * over partitions, far too few to lead back to one.
 */
export const cardToken = (cc_num: bigint) => createHash('sha256').update(String(cc_num)).digest('hex').slice(0, 4)

/** A transaction as another program publishes it: a row of the producer, as a JSON object. Throws when it is none. */
export function foreignTransaction(body: string, fetched_at: number): Transaction {
  const row = parseRow(body)
  if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new Error('it is no JSON object')
  return toTransaction({ current_time: row.event_time, ...renamed(row) }, fetched_at)
}
function parseRow(body: string): Json {
  try {
    return parse(body)
  } catch {
    throw new Error('it is no JSON')
  }
}

/** Messages of other programs are welcome in `transactions`, as rows of the producer; elsewhere they have no place. */
export function toEntry<T extends TopicName>(topic: T, { offset, timestamp, record }: Committed): Entry<Records[T]> {
  const body = record.value?.toString() ?? ''
  const bytes = record.value?.length ?? 0
  try {
    if (record.headers.some(([key]) => key?.toString() === OURS)) return { offset, bytes, record: decode<T>(body) }
    if (topic !== 'transactions') throw new Error(`client-predict has not written it`)
    return { offset, bytes, record: foreignTransaction(body, timestamp) as Records[T] }
  } catch (error) {
    const reason = `a foreign message in the topic ${topic}: ${(error as Error).message}`
    return { offset, bytes, letter: { stage: 'fetch', at: timestamp, reason, record: { body, bytes }, foreign: true } }
  }
}
