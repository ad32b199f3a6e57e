import { TRAINING_COLUMNS } from '../columns.ts'
import { pages } from '../review/pages.ts'
import type { Payment, Reviews } from '../review/reviews.ts'
import type { Topics } from '../topic/topic.ts'
import type { Transaction } from '../transaction.ts'
import type { Range } from './range.ts'

/** rows that the database is asked for at a time */
const PAGE = 2000

/** The transactions of the database between two times, as a topic would have them. After a failure it goes on where it was. */
export function historyOf(reviews: Pick<Reviews, 'rows'>, { from, to }: Range): Pick<Topics, 'scan'> {
  const time = (point: Range['from'], otherwise: number) => {
    if (point && 'offset' in point) throw new Error('--from and --to want times where the database is read')
    return point?.time ?? otherwise
  }
  const wanted = { kind: 'all', from: time(from, 0), to: time(to, Number.MAX_SAFE_INTEGER) } as const
  let after: Payment | undefined
  let read = 0
  async function* scan() {
    for await (const page of pages<Payment>(PAGE, (last, size) => reviews.rows(wanted, last ?? after, size))) {
      for (const row of page) yield { id: `row-${++read}`, record: transactionOf(row) }
      after = page.at(-1) ?? after
    }
  }
  return { scan: scan as Topics['scan'] }
}

const transactionOf = (row: Payment) =>
  Object.fromEntries(
    [...TRAINING_COLUMNS, 'event_time' as const, 'fetched_at' as const].map((column) => [column, row[column]]),
  ) as Transaction
