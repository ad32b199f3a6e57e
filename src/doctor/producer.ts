import type { Config } from '../config/settings.ts'
import { readDocument } from '../fetch/document.ts'
import { producerApi } from '../fetch/producer.ts'
import { HttpFailure, reason } from '../io/errors.ts'
import { plural, seconds } from '../io/text.ts'
import { orAborted } from '../run/loop.ts'
import type { Topics } from '../topic/topic.ts'
import type { Transaction } from '../transaction.ts'
import { type Finding, type Subject, wrong } from './check.ts'

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
): Subject {
  return {
    name: 'producer',
    within: WITHIN + KEEP_WITHIN,
    async look(signal) {
      if (!url) return [{ state: 'note', text: 'PRODUCER_URL is not set: transactions are simulated' }]
      const where = `${url.host}${url.pathname}`
      if (offline) return [{ state: 'skipped', text: `${where} is not called (--offline)` }]
      const open = await orAborted(signal, topics).catch(() => undefined)
      if (!open) return [{ state: 'skipped', text: `${where} is not called: the topics could not keep what it sends` }]
      const began = performance.now()
      let body: string
      try {
        body = await producerApi({ url, headers, deadline: WITHIN }).call(signal)
      } catch (error) {
        return [refused(error, where, url)]
      }
      const took = seconds(performance.now() - began)
      const { transactions, letters, bad, unread = [], wholeBody, refused: complaint } = readDocument(body, Date.now())
      const instead = (text: string, cure: string): Finding[] => [{ state: 'wrong', text, cure }]
      if (complaint !== undefined)
        return instead(
          `${where} answered 200, and no data: ${complaint}`,
          'it says itself what is wrong; the worker asks again until it is well',
        )
      if (wholeBody) return instead(`${where}: ${letters[0]!.reason}`, NO_DOCUMENT)
      const kept = await open.append({ transactions, 'dead-letters': letters }).then(
        () => 'kept for the worker',
        (error) => `lost, as the topics did not take it: ${reason(error)}`,
      )
      if (letters.length > 0)
        return [
          {
            state: 'wrong',
            text: `${where}: ${bad} of ${plural(transactions.length + bad, 'row')} would be set aside: ${letters[0]!.reason}`,
            cure: 'PRODUCER_URL must send the columns cc_num, amt, trans_num and current_time at least: is it the payments API?',
          },
        ]
      if (transactions.length === 0) return [{ state: 'note', text: `${where} answered in ${took} s without a row` }]
      const said = `${where} answered in ${took} s: ${plural(transactions.length, 'row')}, ${kept}`
      const told = new Map<string, string>(unread)
      const wrong = [...told].map(([column, what]) => `${column} ${what}`)
      const empty = emptyColumns(transactions).filter((column) => !told.has(column))
      if (empty.length > 0) wrong.push(`without ${empty.join(', ')}`)
      return [
        wrong.length > 0
          ? { state: 'note', text: `${said}; ${wrong.join('; ')}: the model gets these empty` }
          : { state: 'ok', text: said },
      ]
    },
  }
}

function refused(error: unknown, where: string, url: URL): Finding {
  if (!(error instanceof HttpFailure)) return wrong(error, 'PRODUCER_URL', where, url)
  const text = `${where}: ${reason(error)}`
  if (error.status === 429)
    return { state: 'note', text: `${text}; it is there, and somebody else has called it just now (a running worker?)` }
  return { state: 'wrong', text, cure: cureOf(error) }
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
