import { maskCards } from '../card.ts'
import { csvLine, csvRows } from '../io/csv.ts'
import { reason } from '../io/errors.ts'
import { oneLine, plural } from '../io/text.ts'
import { pages } from './pages.ts'
import { type Payment, type Review, type Reviews, type Saying, VERDICTS, type Verdict, verdictOf } from './reviews.ts'

const COLUMNS = ['trans_num', 'event_time', 'verdict', 'at', 'reviewer', 'via', 'note'] as const
const AT_A_TIME = 500
const OTHERS = COLUMNS.filter((column) => column !== 'trans_num' && column !== 'verdict').join(', ')
const WANTED = `wants a trans_num, a verdict (${VERDICTS.join(', ')}), and at and event_time as times (2026-11-20, 2026-11-20 10:00+01:00) or nothing`
/** What others call a verdict. */
const ALIASES: Record<string, Verdict> = {
  ...Object.fromEntries(VERDICTS.map((verdict) => [verdict, verdict])),
  ...{ '1': 'fraud', true: 'fraud', chargeback: 'fraud', '0': 'legit', false: 'legit', legitimate: 'legit' },
}

/** Every verdict, and what SQL alone has set, as CSV: `importLabels` puts them back. */
export async function* exportLabels(reviews: Reviews): AsyncGenerator<string> {
  yield csvLine(COLUMNS)
  for await (const page of pages<Review>(AT_A_TIME, (after, size) => reviews.reviews(after?.id ?? 0, size)))
    yield page.map(lineOf).join('')
  for await (const page of pages<Payment>(AT_A_TIME, (after, size) => reviews.setBySql(after, size)))
    yield page.map((row) => lineOf(bySql(row))).join('')
}
const lineOf = (review: Omit<Review, 'id'>) => csvLine(COLUMNS.map((column) => review[column]))
const bySql = (row: Payment): Omit<Review, 'id'> => ({
  ...{ trans_num: row.trans_num, event_time: row.event_time, note: null, via: 'sql', at: row.reviewed_at ?? 0 },
  verdict: verdictOf(row) ?? 'withdrawn',
  reviewer: row.reviewed_by ?? 'somebody',
})

/**
 * Takes verdicts from elsewhere: `trans_num`, `verdict`, and what else `exportLabels` writes; without `event_time` every
 * sighting of the transaction. The same twice is once. Resolves with lines for a person, and how many were not there.
 */
export async function importLabels(reviews: Reviews, text: string, reviewer: string) {
  const lines: string[] = []
  const [head = [], ...rows] = read(text, lines)
  const at = (row: readonly string[], column: string) => row[head.indexOf(column)]?.trim() ?? ''
  if (lines.length === 0 && !(head.includes('trans_num') && head.includes('verdict')))
    lines.push(`the file wants a first line with trans_num,verdict and perhaps ${OTHERS}, with commas between them`)
  if (lines.length > 0) return { lines: lines.map(maskCards), wrong: lines.length }
  const said = async (sayings: readonly Saying[]) => {
    for (const one of await reviews.say(sayings)) {
      if ('missing' in one) lines.push(`${maskCards(one.missing.trans_num)}: is not in the database`)
      else done++
    }
  }
  let done = 0
  for (let from = 0; from < rows.length; from += AT_A_TIME) {
    const some = rows.slice(from, from + AT_A_TIME)
    const names = new Set(some.flatMap((row) => (at(row, 'event_time') ? [] : [row[head.indexOf('trans_num')] ?? ''])))
    const found = names.size > 0 ? await reviews.sightings([...names]) : []
    const sightings = Map.groupBy(found, (one) => one.trans_num)
    const sayings: Saying[] = []
    for (const [i, row] of some.entries()) {
      const verdict = ALIASES[at(row, 'verdict').toLowerCase()]
      const time = readTime(at(row, 'at'))
      const trans_num = row[head.indexOf('trans_num')] ?? ''
      const event = at(row, 'event_time')
      const event_time = readTime(event)
      if (!verdict || time === undefined || event_time === undefined || trans_num === '') {
        lines.push(`line ${from + i + 2}: ${WANTED}`)
        continue
      }
      const of = event ? [{ trans_num, event_time }] : (sightings.get(trans_num) ?? [])
      if (of.length === 0) lines.push(`${maskCards(trans_num)}: is not in the database`)
      for (const which of of)
        sayings.push({
          ...{ ...which, verdict, at: time, note: noteIn(at(row, 'note')) },
          reviewer: nameIn(at(row, 'reviewer'), 80) || reviewer,
          via: (['page', 'link', 'sql'] as const).find((via) => via === at(row, 'via')) ?? 'import',
        })
    }
    await said(sayings)
  }
  return { lines: [`${plural(done, 'verdict')} in the database`, ...lines], wrong: lines.length }
}

/** A note and a name, fit for a row, a header and a page: in one line, without a card number. */
export const noteIn = (text: string) => maskCards(oneLine(text)).slice(0, 1000).toWellFormed() || null
export const nameIn = (text: string, most = 60) => maskCards(oneLine(text)).slice(0, most).toWellFormed()

/** The lines of the file; none, and what is wrong with it, if it is no CSV. No database takes a NUL. */
function read(text: string, wrong: string[]): string[][] {
  try {
    return csvRows(text.replaceAll('\0', '\ufffd'))
  } catch (error) {
    wrong.push(`nothing is taken from it: ${reason(error)}`)
    return []
  }
}

/** ms or s since 1970, or a day or time as ISO has it, UTC unless it says otherwise; none is 0: of no known time, the same in each import. */
function readTime(text: string): number | undefined {
  if (/^\d{0,15}$/.test(text)) return Number(text) * (text.length === 10 ? 1000 : 1)
  const [, day, clock = '00:00', zone = 'Z'] =
    /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?) ?(Z|[+-]\d\d:?\d\d)?)?$/.exec(text) ?? []
  const time = Date.parse(`${day}T${clock}${zone}`)
  return Number.isNaN(time) ? undefined : time
}
