import type { Topics } from '../topic/topic.ts'
import { identity, type Prediction } from '../transaction.ts'
import { deservesMail, draftKey } from './notifier.ts'
import type { Before, Draft, Total } from './outbox.ts'
import { type SentRow, short } from './sent.ts'

/** identities in one row */
const PORTION = 500

/**
 * What earlier releases kept of an alarm: one value, under its name alone. The position waited for the notifications then:
 * `ahead` are frauds beyond it that were sent or stand in `carried`, those in `open` notifications may be beyond it too.
 */
type OldNote = Partial<Before> & {
  ahead?: readonly string[]
  open?: readonly Draft[]
  carried?: readonly Prediction[]
  total?: Total
  counted?: unknown
  singles?: unknown
  last?: unknown
  collecting?: unknown
  [row: string]: unknown
}

/** The rows of an alarm, as they are at one moment; `owed` is what has to be noted before any other, if anything has. */
export async function alarmRows(topics: Topics, name: string) {
  const found = await topics.state(name)
  const note = found.get(name) as OldNote | undefined
  if (!note) return { found, owed: undefined }
  const owed: Record<string, unknown> = { [name]: null }
  for (const [key, row] of Object.entries(await toRows(note, topics))) {
    owed[`${name}/${key}`] = row
    found.set(`${name}/${key}`, row)
  }
  found.delete(name)
  return { found, owed }
}

async function toRows(
  { ahead = [], open = [], carried = [], seen = 0, old, total, counted, singles, last, collecting, ...same }: OldNote,
  topics: Topics,
): Promise<Record<string, unknown>> {
  const waiting = new Map(carried.map((fraud) => [identity(fraud), fraud]))
  let frauds = (total?.frauds ?? carried.length) + ahead.length - carried.length + waiting.size
  const missing = new Set(open.flatMap(({ of }) => of).filter((name) => !waiting.has(name)))
  if (missing.size > 0)
    for await (const { record } of topics.scan('predictions')) {
      if (!deservesMail(record) || !missing.delete(identity(record))) continue
      waiting.set(identity(record), record)
      frauds++
      if (missing.size === 0) break
    }
  // What somebody has removed from the topic since is in no notification any more: the rest of it waits again.
  const notifications = open.flatMap((draft) => {
    if (draft.of.every((name) => waiting.has(name))) return draft
    return draft.notice ? { ...draft, of: [] } : []
  })
  const sent = [...new Set(ahead)].filter((name) => !waiting.has(name)).map(short)
  const rows: Record<string, unknown> = {
    ...same, // breaker, thread, health, notices, waits
    ...(counted !== undefined && { pace: { counted, singles, last, collecting } }),
    total: { frauds, mailed: total?.mailed ?? ahead.length } satisfies Total,
  }
  if (seen > 0 || old) rows.before = { seen, ...(old && { old }) } satisfies Before
  for (const [name, fraud] of waiting) rows[`outbox/${name}`] = fraud
  for (const draft of notifications) rows[`letter/${draftKey(draft)}`] = draft
  for (let i = 0; i < sent.length; i += PORTION)
    rows[`sent/earlier ${i / PORTION}`] = { at: 0, of: sent.slice(i, i + PORTION) } satisfies SentRow
  return rows
}
