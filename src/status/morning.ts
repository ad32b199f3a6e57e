import { mark, type Notice } from '../alert/notifier.ts'
import type { Condition } from '../alert/trouble.ts'
import { openLetters } from '../commands/dead-letters.ts'
import { reason } from '../io/errors.ts'
import { grouped, plural } from '../io/text.ts'
import { clockIn } from '../io/time.ts'
import { dollars } from '../notify/shown.ts'
import { describeGrowth, growth, LOOKED_BACK } from '../record/growth.ts'
import type { Days, Reviews, Sum } from '../review/reviews.ts'
import { orAborted } from '../run/loop.ts'
import type { Topics } from '../topic/topic.ts'

/** ms that the database, or the topics, may take to answer */
const WITHIN = 60_000

export type MorningOptions = {
  reviews: Pick<Reviews, 'days' | 'grown'>
  topics: Topics
  conditions(): Promise<Condition[]>
  zone: string
  /** which model judges, as rows say it */
  model: string | null
  /** the SQLite file of the rows; MB that stay free on its disk */
  file: string | undefined
  reserve: number
}

/** What people want to know in the morning. What cannot be asked is said, and does not keep the rest back. */
export function morning({ reviews, topics, conditions, zone, model, file, reserve }: MorningOptions) {
  const clock = clockIn(zone)
  return async (from: number, to: number): Promise<Notice> => {
    const days = await asked(reviews.days(from, to))
    const parts = [
      typeof days === 'string' ? [`Alarms: ${days}`] : [...ofDays(days, clock)],
      await part('Trouble', async () => ofTrouble(await conditions(), (await openLetters(topics)).size)),
      await part('Growth', async () => [
        `Growth: ${describeGrowth(await growth(await reviews.grown(to - LOOKED_BACK), { file, reserve, now: to }), to)}.`,
      ]),
    ]
    const summary = typeof days === 'string' ? 'not all is known' : inShort(days)
    return {
      subject: `${mark([{ model }])}Fraud summary of ${clock(to)}: ${summary}`,
      lines: [`From ${clock(from)} to ${clock(to)}, ${zone}.`, ...parts.flat()],
    }
  }
}

async function part(name: string, lines: () => Promise<string[]>): Promise<string[]> {
  const found = await asked(lines())
  return typeof found === 'string' ? [`${name}: ${found}`] : found
}
/** Or why it is not known. */
const asked = <T extends object>(work: Promise<T>): Promise<T | string> =>
  orAborted(AbortSignal.timeout(WITHIN), work).catch((error) => `not known, ${reason(error)}`)

const money = ({ count, amount }: Sum, one: string) => `${plural(count, one)}${count > 0 ? `, ${dollars(amount)}` : ''}`
const inShort = ({ alarms, open }: Days) => {
  const [count, amount] = [
    open.day.count + open.week.count + open.older.count,
    open.day.amount + open.week.amount + open.older.amount,
  ]
  return `${plural(alarms.count, 'alarm')}, ${count} open${count > 0 ? ` (${dollars(amount)})` : ''}`
}

function* ofDays({ rows, alarms, unseen, said, open, oldest }: Days, clock: (at: number) => string) {
  yield `Alarms: ${money(alarms, 'alarm')}, of ${grouped(rows)} payments judged. People called ${said.fraud.count} fraud and ${said.legit.count} no fraud.`
  const ages = [
    ['a day old at most', open.day],
    ['up to a week', open.week],
    ['older', open.older],
  ] as const
  const some = ages.filter(([, { count }]) => count > 0).map(([age, sum]) => `${money(sum, 'alarm')}: ${age}`)
  yield some.length > 0 ? `Open: ${some.join('; ')}. The oldest is of ${clock(oldest!)}.` : 'Open: none.'
  const missed = [
    said.missed.count > 0 && `${money(said.missed, 'payment')}, by what people said`,
    unseen.count > 0 && `${money(unseen, 'payment')}, by what the producer says (is_fraud)`,
  ].filter(Boolean)
  yield missed.length > 0 ? `Missed by the model: ${missed.join('; ')}.` : 'Missed by the model: nothing that is known.'
}

function ofTrouble(conditions: readonly Condition[], letters: number): string[] {
  const wrong = conditions.filter((condition) => condition.wrong !== undefined)
  return [
    wrong.length > 0
      ? `Trouble: ${wrong.map(({ name, wrong }) => `${name}: ${wrong}`).join(' ')}`
      : 'Trouble: none now.',
    ...(letters > 0 ? [`${plural(letters, 'row')} set aside: npm run dead-letters lists them.`] : []),
  ]
}
