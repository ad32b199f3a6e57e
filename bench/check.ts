import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { disposable } from '../test/outside.ts'
import { isFraud, rowOf, type World } from './world.ts'

/** Throws when not every row that the producer sent is recorded and judged once, as it was, and each fraud mailed once. */
export function check(folder: string, { state: { sent, share, mails } }: World) {
  const wrong = { lost: 0, doubled: 0, changed: 0, misjudged: 0, unmailed: 0, 'mailed again': 0, aside: 0, behind: 0 }
  const expected = Array.from({ length: sent }, (_, i) => rowOf(i))
  const seen = new Map(expected.map(({ trans_num }) => [trans_num, 0]))
  const byNumber = new Map(expected.map((row) => [row.trans_num, row]))

  using rows = disposable(new DatabaseSync(join(folder, 'fraud.db'), { readOnly: true }))
  const recorded = rows.prepare('SELECT *, event_time AS current_time FROM predictions')
  recorded.setReadBigInts(true)
  for (const row of recorded.iterate()) {
    const wanted = byNumber.get(String(row.trans_num))
    seen.set(String(row.trans_num), (seen.get(String(row.trans_num)) ?? 1) + 1)
    if (wanted && Object.entries(wanted).some(([column, value]) => String(row[column]) !== String(value)))
      wrong.changed++
    if (Number(row.prediction) !== Number(isFraud(String(row.trans_num), share))) wrong.misjudged++
  }
  for (const times of seen.values()) wrong[times === 0 ? 'lost' : 'doubled'] += Math.abs(times - 1)

  using topics = disposable(new DatabaseSync(join(folder, 'topics.db'), { readOnly: true }))
  const figure = (sql: string) => Number(Object.values(topics.prepare(sql).get()!)[0])
  const judged = figure(`SELECT count(DISTINCT record ->> 'trans_num') FROM predictions`)
  wrong.lost += sent - judged
  wrong.doubled += figure('SELECT count(*) FROM predictions') - judged
  wrong.aside = figure('SELECT count(*) FROM "dead-letters"')
  wrong.behind = figure(`SELECT sum(${sent} - offset) FROM position WHERE reader NOT IN ('webhook', 'shadow')`)

  for (const [i, { trans_num }] of expected.entries()) {
    const times = mails.get(i) ?? 0
    if (times === 0 && isFraud(trans_num, share)) wrong.unmailed++
    wrong['mailed again'] += Math.max(0, times - Number(isFraud(trans_num, share)))
  }
  const found = Object.entries(wrong).filter(([, count]) => count !== 0)
  if (found.length > 0) throw new Error(`of ${sent} rows ${found.map(([what, n]) => `${n} ${what}`).join(', ')}`)
}
