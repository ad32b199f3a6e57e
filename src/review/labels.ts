import { setTimeout as sleep } from 'node:timers/promises'
import { maskCards } from '../card.ts'
import { BadCsv, csvLine, csvRows } from '../io/csv.ts'
import { oneLine } from '../io/text.ts'
import { pages } from './pages.ts'
import { type Payment, type Review, type Reviews, type Saying, VERDICTS, type Verdict, verdictOf } from './reviews.ts'

const COLUMNS = ['trans_num', 'event_time', 'verdict', 'at', 'reviewer', 'via', 'note'] as const
const AT_A_TIME = 500
const WITH = ['trans_num', 'verdict']
const OTHERS = COLUMNS.filter((column) => !WITH.includes(column)).join(', ')
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

/** `tell`: a line for a person about what does not count; `progress`: lines and verdicts so far. */
export type Importing = {
  reviewer: string
  tell(line: string): void
  progress?(lines: number, verdicts: number): void
}

/**
 * Takes verdicts from elsewhere, as they come: `trans_num`, `verdict`, and what else `exportLabels` writes; without
 * `event_time` every sighting of the transaction. The same twice is once. Resolves with how many are in the database, and how
 * much is not.
 */
export async function importLabels(
  reviews: Pick<Reviews, 'say' | 'sightings'>,
  text: AsyncIterable<string> | Iterable<string>,
  { reviewer, tell, progress }: Importing,
): Promise<{ verdicts: number; wrong: number }> {
  let [lines, verdicts, wrong] = [0, 0, 0]
  const leave = (line: string) => {
    wrong++
    tell(maskCards(line))
  }
  async function take(labels: readonly Label[]) {
    const unplaced = new Set(labels.flatMap(({ trans_num, isPlaced }) => (isPlaced ? [] : [trans_num])))
    const found = unplaced.size > 0 ? await reviews.sightings([...unplaced]) : []
    const sightings = Map.groupBy(found, ({ trans_num }) => trans_num)
    const sayings = labels.flatMap(({ isPlaced, event_time, verdict, at, ...label }): Saying[] => {
      lines++
      const { trans_num } = label
      if (!verdict || at === undefined || event_time === undefined || trans_num === '') {
        leave(`line ${lines + 1}: ${WANTED}`)
        return []
      }
      const of = isPlaced ? [{ trans_num, event_time }] : (sightings.get(trans_num) ?? [])
      if (of.length === 0) leave(`${trans_num}: is not in the database`)
      return of.map((which) => ({ ...label, ...which, verdict, at, reviewer: label.reviewer || reviewer }))
    })
    const began = performance.now()
    for (const said of await reviews.say(sayings)) {
      if ('missing' in said) leave(`${said.missing.trans_num}: is not in the database`)
      else verdicts++
    }
    progress?.(lines, verdicts)
    await sleep(performance.now() - began) // the database is for others as long as it was for these
  }
  let head: string[] | undefined
  try {
    for await (const rows of csvRows(text)) {
      head ??= rows.shift()
      if (head && !WITH.every((column) => head!.includes(column))) break
      for (let from = 0; from < rows.length; from += AT_A_TIME)
        await take(rows.slice(from, from + AT_A_TIME).map((row) => labelOf(head!, row)))
    }
    if (!WITH.every((column) => head?.includes(column)))
      leave(`the file wants a first line with ${WITH} and perhaps ${OTHERS}, with commas between them`)
  } catch (error) {
    if (!(error instanceof BadCsv)) throw error
    leave(`${error.message}: nothing is taken from there on`)
  }
  return { verdicts, wrong }
}

/** A line of the file; `isPlaced`: with the time of the payment that is meant. No database takes a NUL. */
type Label = ReturnType<typeof labelOf>
function labelOf(head: readonly string[], row: readonly string[]) {
  const raw = (column: string) => row[head.indexOf(column)]?.replaceAll('\0', '\ufffd') ?? ''
  const at = (column: string) => raw(column).trim()
  return {
    trans_num: raw('trans_num'),
    event_time: readTime(at('event_time')),
    isPlaced: at('event_time') !== '',
    verdict: ALIASES[at('verdict').toLowerCase()],
    at: readTime(at('at')),
    note: noteIn(at('note')),
    reviewer: nameIn(at('reviewer'), 80),
    via: (['page', 'link', 'sql'] as const).find((via) => via === at('via')) ?? ('import' as const),
  }
}

/** A note and a name, fit for a row, a header and a page: in one line, without a card number. */
export const noteIn = (text: string) => maskCards(oneLine(text)).slice(0, 1000).toWellFormed() || null
export const nameIn = (text: string, most = 60) => maskCards(oneLine(text)).slice(0, most).toWellFormed()

/** ms or s since 1970, or a day or time as ISO has it, UTC unless it says otherwise; none is 0: of no known time, the same in each import. */
function readTime(text: string): number | undefined {
  if (/^\d{0,15}$/.test(text)) return Number(text) * (text.length === 10 ? 1000 : 1)
  const [, day, clock = '00:00', zone = 'Z'] =
    /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?) ?(Z|[+-]\d\d:?\d\d)?)?$/.exec(text) ?? []
  const time = Date.parse(`${day}T${clock}${zone}`)
  return Number.isNaN(time) ? undefined : time
}
