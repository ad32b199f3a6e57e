import { grouped, percent, plural } from '../io/text.ts'
import { DAY, utc } from '../io/time.ts'
import type { Board, Share } from './board.ts'
import { FEW } from './board.ts'
import type { Interval } from './statistics.ts'

// What each figure is called and how it is said, on the page as on a terminal.

export const wholeDollars = (amount: number) =>
  `${amount < 0 ? '-' : ''}$${Math.abs(amount).toLocaleString('en-US', { maximumFractionDigits: 0 })}`
export const dayOf = (day: number) => utc(day * DAY, 10)
const between = ([low, high]: Interval) => `${percent(low, 2)} to ${percent(high, 2)}`
export const shareOf = ({ value, interval }: Share) => `${percent(value, 2)} (${between(interval)})`
export const nameOf = ({ model, threshold }: Pick<Board, 'model' | 'threshold'>) =>
  `${model || 'a model without a name'}${threshold === null ? '' : `, threshold ${threshold}`}`

/** A board as titles and sentences. */
export function figuresOf(board: Board): (readonly [title: string, text: string])[] {
  const { caught, missed, falseAlarms, open, money, rows, unripe, unknown, precision, flagged } = board
  if (rows === 0) return [['Rows', `${grouped(unripe)}, of which none counts yet`]]
  const counts = [
    `${grouped(caught)} caught`,
    `${grouped(missed)} ${board.audit ? 'known to be missed' : 'missed'}`,
    plural(falseAlarms, 'false alarm'),
    ...(open > 0 ? [`${plural(open, 'alarm')} that nobody has judged`] : []),
  ]
  const worst = precision && open > 0 ? `; whatever the alarms without a verdict are: ${between(precision.worst)}` : ''
  const net =
    money.net && `; caught less reviews, per ${board.ripe} such days: ${money.net.map(wholeDollars).join(' to ')}`
  return [
    [
      'Rows',
      `${grouped(rows)} on ${plural(board.ripe, 'day')}, ${dayOf(board.first)} to ${dayOf(board.last)}${unripe > 0 ? `; ${grouped(unripe)} later ones do not count yet` : ''}${unknown > 0 && !board.audit ? `; of ${grouped(unknown)} nobody knows what they were` : ''}`,
    ],
    ['Flagged', `${shareOf(flagged)} of all`],
    ['Frauds', counts.join(', ')],
    ['Missed', missedOf(board)],
    [
      'Precision',
      precision
        ? `${shareOf(precision)} of the alarms${board.audit ? ' with a verdict' : ''} were fraud${worst}`
        : 'no alarm has a verdict',
    ],
    [
      'Money',
      `${wholeDollars(money.caught)} caught, ${wholeDollars(money.missed)} missed${board.audit ? ' (estimated)' : ''}, ${plural(money.reviews, 'review')} cost ${wholeDollars(money.spent)}${net ?? ''}`,
    ],
  ]
}

function missedOf({ falseNegativeRate, audit, caught, missed }: Board): string {
  const sample = audit && `${grouped(audit.judged)} of ${grouped(audit.drawn)} audited rows have a verdict`
  const needs =
    audit && audit.wanted > audit.judged
      ? `; for ±10 points it takes about ${grouped(audit.wanted)} (AUDIT_PER_DAY)`
      : ''
  if (falseNegativeRate) return `${shareOf(falseNegativeRate)} of all frauds${sample ? `; ${sample}${needs}` : ''}`
  if (audit && audit.judged === 0) return `alarms alone cannot tell; ${sample}${needs}`
  const few = `too few frauds to say: ${caught + missed} of the ${FEW} that it takes at least`
  return `${few}${sample ? `; ${sample}${needs}` : ''}`
}

/** Of the model that judged last, for a page that says one thing of it. */
export function headline(board: Board | undefined): [string, string][] {
  if (!board) return []
  const said = board.rows === 0 ? 'nothing counts yet' : missedOf(board)
  return [['missed frauds', `${nameOf(board)}: ${said}; /desk/models`]]
}
