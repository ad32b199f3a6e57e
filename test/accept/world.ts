import { hangUp, scriptedSmtp, transNum } from '../notify/smtp-server.ts'
import { isFraud } from '../outside.ts'
import { body, httpServer, LONG_CARD, row } from '../rows.ts'
import { byAmount, modelServer, refused, type Saying } from '../score/server.ts'

type Row = ReturnType<typeof row>
/** What a producer says beside rows: too many calls, its own trouble, a page of its host, nothing. */
const OUTAGES = [
  { status: 429, type: 'application/json', text: '{"error":"Rate limit exceeded: 5 per 1 minute"}' },
  { status: 500, type: 'text/plain', text: 'Internal Server Error' },
  { status: 200, type: 'text/html', text: '<!DOCTYPE html><title>Application Error</title>' },
  undefined,
]

/** Every fifth is a fraud to the model, every third card has 19 digits, and some of the honest ones are called frauds. */
export const plan = (count: number) =>
  Array.from({ length: count }, (_, n) =>
    row(n, {
      ...(n % 5 === 0 && { amt: 1000 + n }),
      ...(n % 3 === 0 && { cc_num: LONG_CARD + BigInt(n) }),
      is_fraud: n % 7 === 0 ? 1 : 0,
      city_pop: n % 11 === 0 ? null : 500 + n,
    }),
  )

/**
 * The producer, the model and the mail server, on the wire. With `faults` each of them fails now and then by a count, so
 * that a run can be had again; `poison` is the row that the model never takes, `unreadable` one that nobody can read.
 */
export async function openWorld(rows: readonly Row[], { faults }: { faults: boolean }) {
  const state = { next: 0, calls: 0, posts: 0, dots: 0, modelDown: false, mailDown: false }
  const [poison, unreadable] = faults ? [rows[37]!, rows[61]!] : []
  /** Rows that left the producer whole. The last one is owed from the next call on: before that a kill may have cut it off. */
  const owed = new Set<Row>()
  let last: Row | undefined
  const asked = { altered: new Set<string>(), labels: 0, rows: 0 }
  const cards = new Set(rows.map(({ cc_num }) => String(cc_num)))

  await using opening = new AsyncDisposableStack()
  const producer = opening.use(
    await httpServer((_request, response) => {
      if (last) owed.add(last)
      last = undefined
      const call = ++state.calls
      if (faults && call % 20 === 0) {
        const outage = OUTAGES[(call / 20) % OUTAGES.length]
        if (!outage) return response.destroy()
        return response.writeHead(outage.status, { 'content-type': outage.type }).end(outage.text)
      }
      if (state.next === rows.length) return response.writeHead(503).end('gone')
      last = rows[state.next++]!
      response.end(body([last === unreadable ? { ...last, amt: 'much' } : last], { doubled: state.next % 2 === 0 }))
    }),
  )
  const model = opening.use(
    await modelServer((sent): Saying => {
      const post = ++state.posts
      if (state.modelDown) return 'hang up'
      for (const one of sent) {
        if (!cards.has(String(one.cc_num))) asked.altered.add(String(one.cc_num))
        if ('is_fraud' in one) asked.labels++
      }
      if (faults && post % 9 === 4) return { status: 503, text: 'upstream connect error', type: 'text/plain' }
      if (poison && sent.some(({ trans_num }) => trans_num === poison.trans_num))
        return refused(JSON.stringify({ error_code: 'BAD_REQUEST', message: 'Failed to predict' }))
      asked.rows += sent.length
      return byAmount(sent)
    }),
  )
  const smtp = opening.use(
    await scriptedSmtp(({ verb }) => {
      if (verb === 'greeting' && state.mailDown) return '421 4.3.2 not now'
      if (verb !== 'dot' || !faults) return undefined
      const dot = ++state.dots
      if (dot % 7 === 3) return '451 4.7.1 try again later'
      return dot % 29 === 11 ? hangUp : undefined // nobody knows whether it has arrived
    }),
  )
  const opened = opening.move()
  const aside = (one: Row) => one === poison || one === unreadable
  return {
    state,
    asked,
    cards,
    env: {
      NODE_ENV: 'production',
      PRODUCER_URL: `${producer.url.href}current-transactions`,
      PRODUCER_RATE_PER_MIN: '600000',
      MODEL_URL: model.url.href,
      MODEL_NAME: 'accept/1',
      SCORE_BATCH_SIZE: '32',
      SMTP_URL: `smtp://127.0.0.1:${smtp.server.port}`,
      ALERT_FROM: 'fraud@example.com',
      ALERT_TO: 'analyst@example.com',
      ALERT_BURST: '1000000', // grouping has tests of its own
      ALERT_DAILY_LIMIT: '1000000',
      ALERT_BREAKER: 'off',
    },
    /** What has to be recorded, what has to be mailed, and what has to be set aside. */
    owed: () => [...owed].filter((one) => !aside(one)),
    frauds: () => [...owed].filter((one) => !aside(one) && isFraud(one)),
    aside: () => [...owed].filter(aside),
    /** May be there or not: it was on its way when its worker was killed. */
    excuse() {
      const excused = last
      last = undefined
      return excused
    },
    /** Everything was delivered, and the worker has come back for more. */
    drained: () => state.next === rows.length && !last,
    /** The mails that were taken, and those of which nobody knows. */
    mails: () => smtp.seen.map(({ raw, taken }) => ({ of: transNum(raw), raw, taken })),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}
