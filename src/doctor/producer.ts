import type { Config } from '../config/settings.ts'
import { readDocument } from '../fetch/document.ts'
import { producerApi } from '../fetch/producer.ts'
import { HttpFailure, reason } from '../io/errors.ts'
import { plural, seconds } from '../io/text.ts'
import { orAborted } from '../run/loop.ts'
import type { Topics } from '../topic/topic.ts'
import type { Transaction } from '../transaction.ts'
import { type Finding, failure, note, ok, skipped, type Target, wrong } from './check.ts'

/** ms; the first answer after a pause can take the most of it */
const WITHIN = 60_000
/** ms that keeping what came may take */
const KEEP_WITHIN = 30_000

/**
 * One call, as the worker makes it. What it brings is a transaction that exists nowhere else: it goes into the topics,
 * where the worker finds it.
 */
export function producer(
  { PRODUCER_URL: url, PRODUCER_HEADERS: headers }: Config,
  offline: boolean,
  topics: Promise<Topics>,
): Target {
  return {
    name: 'producer',
    within: WITHIN + KEEP_WITHIN,
    async look(signal) {
      if (!url) return [note('PRODUCER_URL is not set: transactions are simulated')]
      const where = `${url.host}${url.pathname}`
      if (offline) return [skipped(`${where} is not called (--offline)`)]
      const open = await orAborted(signal, topics).catch(() => undefined)
      if (!open) return [skipped(`${where} is not called: the topics could not keep what it sends`)]
      const began = performance.now()
      try {
        const body = await producerApi({ url, headers, deadline: WITHIN }).call(signal)
        return [await examine(body, where, seconds(performance.now() - began), open)]
      } catch (error) {
        return [refused(error, where, url)]
      }
    },
  }
}

/** Keeps what it sent, and says whether that is data; `took`: seconds. */
async function examine(body: string, where: string, took: string, topics: Topics): Promise<Finding> {
  const { transactions, letters, bad, unread = [], wholeBody, refused: complaint } = readDocument(body, Date.now())
  if (complaint !== undefined)
    return wrong(
      `${where} answered 200, and no data: ${complaint}`,
      'it says itself what is wrong; the worker asks again until it is well',
    )
  if (wholeBody) return wrong(`${where}: ${letters[0]!.reason}`, NO_DOCUMENT)
  const kept = await topics.append({ transactions, 'dead-letters': letters }).then(
    () => 'kept for the worker',
    (error) => `lost, as the topics did not take it: ${reason(error)}`,
  )
  if (letters.length > 0)
    return wrong(
      `${where}: ${bad} of ${plural(transactions.length + bad, 'row')} would be set aside: ${letters[0]!.reason}`,
      'PRODUCER_URL must send the columns cc_num, amt, trans_num and current_time at least: is it the payments API?',
    )
  if (transactions.length === 0) return note(`${where} answered in ${took} s without a row`)
  const said = `${where} answered in ${took} s: ${plural(transactions.length, 'row')}, ${kept}`
  const told = new Map<string, string>(unread)
  const strange = [...told].map(([column, what]) => `${column} ${what}`)
  const empty = emptyColumns(transactions).filter((column) => !told.has(column))
  if (empty.length > 0) strange.push(`without ${empty.join(', ')}`)
  return strange.length > 0 ? note(`${said}; ${strange.join('; ')}: the model gets these empty`) : ok(said)
}

function refused(error: unknown, where: string, url: URL): Finding {
  if (!(error instanceof HttpFailure)) return failure(error, 'PRODUCER_URL', where, url)
  const text = `${where}: ${reason(error)}`
  if (error.status !== 429) return wrong(text, cureOf(error))
  return note(`${text}; it is there, and somebody else has called it just now (a running worker?)`)
}
/** What each status, or what came instead of data, means. */
function cureOf({ status = 0, page }: HttpFailure): string {
  if (status >= 300 && status < 400) return 'set PRODUCER_URL to the new address (often the same with https://)'
  if (status === 401 || status === 403)
    return 'it wants a key, or another one: set PRODUCER_HEADERS, e.g. {"Authorization":"Bearer …"}'
  if (status === 404 || status === 405 || status === 410)
    return 'check the path in PRODUCER_URL: the full URL, e.g. https://host/current-transactions'
  if (status >= 500) return 'it is there and has trouble of its own; the worker asks again until it is well'
  if (page)
    return 'that is a page for people: PRODUCER_URL must be the API itself, e.g. https://host/current-transactions'
  return status === 200 ? 'is PRODUCER_URL the payments API?' : 'check PRODUCER_URL'
}

const NO_DOCUMENT =
  'PRODUCER_URL must answer {"columns":[…],"data":[[…]]} or a list of objects: is it the payments API?'

const emptyColumns = (transactions: readonly Transaction[]) =>
  (Object.keys(transactions[0]!) as (keyof Transaction)[]).filter(
    (column) => column !== 'is_fraud' && transactions.every((t) => t[column] === null),
  )
