import type { Whereabouts } from '../alert/outbox.ts'
import { maskedStart } from '../card.ts'
import { grouped } from '../io/text.ts'
import { utc } from '../io/time.ts'

/** things that do not hold, of one kind, that are listed */
const LISTED = 20

/** A record that lacks something; `at`: ms since 1970, as replay compares them. */
export type Row = { id: string; trans_num: string; at: number }
/** What was counted. `to…` waits for that; `since`: when the oldest was fetched, in ms since 1970. */
export type Figures = {
  fetched: number
  toScore: number
  predictions: number
  toRecord: number
  frauds: number
  toMail: number
  since: number
  aside: { score: number; record: number }
  /** frauds that have waited for their alarm for more than an hour; without an id where the topic has let it go */
  overdue: readonly (Row & { name: string })[]
  unpredicted: readonly Row[]
  unrecorded: readonly Row[]
}

/** The account as lines for a person: the equations, each thing that does not hold with its cure, and the sum of it. */
export function statement(found: Figures, alarms: Whereabouts): { lines: string[]; holds: boolean } {
  const { total, waits, waiting: toSend } = alarms
  const lost = total ? total.frauds - total.mailed - toSend.size : 0
  const problems = [
    ...listed('transactions', found.unpredicted, 'has no prediction, and is in no dead letter', 'score', 'lost.csv'),
    ...listed('predictions', found.unrecorded, 'is not in the database, nor in a dead letter', 'record'),
    ...(lost > 0 ? [`frauds: ${grouped(lost)} were passed and are in no mail; ${UNTOLD}`] : []),
    ...(waits ? [] : stuck(found.overdue, alarms)),
    ...(lost < 0 ? [`frauds: ${grouped(-lost)} were mailed more often than once`] : []),
  ]
  const holds = problems.length === 0
  const since = Number.isFinite(found.since) ? `since ${utc(found.since)} UTC` : 'no transactions'
  const why =
    waits && found.overdue.length > 0
      ? [`frauds: ${waiting(found.overdue)}: ${maskedStart(waits.why, 300)} (since ${utc(waits.since)} UTC)`]
      : []
  const end = `the account ${holds ? 'holds' : 'does NOT hold'}, over what the topics keep (${since})`
  const both = total ? ['(frauds: those that are still kept; ever: each once, since the topics are there)'] : []
  return { lines: [...equations(found, alarms, lost), ...why, ...problems, ...both, end], holds }
}

const UNTOLD = 'look for rows with prediction = 1 that nobody was told of'

/** Frauds that wait, and nothing says why. */
function stuck(overdue: Figures['overdue'], { decided }: Whereabouts): string[] {
  if (overdue.length === 0) return []
  const lines = overdue.slice(0, LISTED).map(({ id, trans_num, name, at }) => {
    const letter = decided.get(name)
    const where = letter === undefined ? 'in no mail yet' : `in a mail of ${utc(letter)} UTC that was not taken over`
    return `${id ? `predictions ${id}` : 'a prediction that is no longer kept'} (${maskedStart(trans_num, 64)}) is a fraud of ${utc(at)} UTC, ${where}, and no reason is noted`
  })
  return [
    ...lines,
    `frauds: ${waiting(overdue)} without a reason: is a worker running, with alert in STAGES? What does it log, what says npm run doctor?`,
  ]
}
const waiting = (rows: readonly Row[]) =>
  `${grouped(rows.length)} ${rows.length === 1 ? 'has' : 'have'} waited longer than an hour, the oldest since ${utc(Math.min(...rows.map(({ at }) => at)))} UTC`

function equations(
  { fetched, toScore, predictions, toRecord, frauds, toMail, aside, unpredicted, unrecorded }: Figures,
  { total, waiting }: Whereabouts,
  lost: number,
): string[] {
  const judged = fetched - toScore - aside.score - unpredicted.length
  const recorded = predictions - toRecord - aside.record - unrecorded.length
  const sent = { mailed: frauds - toMail, waiting: toMail }
  const rows: [string, number, Record<string, number>][] = [
    ['fetched', fetched, { predicted: judged, waiting: toScore, 'set aside': aside.score, LOST: unpredicted.length }],
    ['predicted', predictions, { recorded, waiting: toRecord, 'set aside': aside.record, LOST: unrecorded.length }],
    ['frauds', frauds, sent],
  ]
  if (total) {
    const amiss = lost < 0 ? 'TWICE' : 'LOST'
    rows.push(['ever', total.frauds, { mailed: total.mailed, waiting: waiting.size, [amiss]: lost }])
  }
  const width = Math.max(...rows.map(([, sum]) => grouped(sum).length))
  const lines = rows.map(([name, sum, parts]) => {
    const said = Object.entries(parts).filter(([what, part]) => part !== 0 || what === what.toLowerCase())
    const terms = said.map(([what, part]) => `${part < 0 ? '-' : '+'} ${grouped(Math.abs(part))} ${what}`)
    return `${name.padEnd(10)} ${grouped(sum).padStart(width)} = ${terms.join(' ').slice(2)}`
  })
  if (predictions !== judged)
    lines.push(
      `(${grouped(Math.abs(predictions - judged))} of the predictions: of transactions that are no longer kept, or were judged meanwhile)`,
    )
  return lines
}

function listed(topic: string, rows: readonly Row[], what: string, stage: string, into?: string): string[] {
  const cure = (from: Row, to: Row) => {
    const [first, last] = from.id.includes('-')
      ? [new Date(from.at).toISOString(), new Date(to.at + 1).toISOString()] // partitions have offsets of their own
      : [from.id, to.id]
    return `npm run replay -- --stage ${stage} --from ${first} --to ${last}${into ? ` --into ${into}` : ''}`
  }
  const lines = rows
    .slice(0, LISTED)
    .map((row) => `${topic} ${row.id} (${maskedStart(row.trans_num, 64)}) ${what}: ${cure(row, row)}`)
  if (rows.length <= LISTED) return lines
  const ordered = rows[0]!.id.includes('-') ? rows.toSorted((a, b) => a.at - b.at) : rows
  return [...lines, `and ${grouped(rows.length - LISTED)} more; all of them: ${cure(ordered[0]!, ordered.at(-1)!)}`]
}
