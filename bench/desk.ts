import { once } from 'node:events'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { SMTPServer } from 'smtp-server'
import { COLUMNS } from '../src/columns.ts'
import { sqliteStore } from '../src/record/sqlite.ts'
import { idOf } from '../src/review/reviews.ts'
import { fakeModel } from '../test/outside.ts'
import { body, freePort, httpServer, prediction, row, tempDir } from '../test/rows.ts'
import { startWorker } from '../test/worker.ts'

// How long the pages of the desk take over many rows while others come in, and what that costs an alarm:
// node bench/desk.ts [--rows 1000000] [--rate 500] [--seconds 40]

const { values: given } = parseArgs({
  options: {
    rows: { type: 'string', default: '1000000' },
    rate: { type: 'string', default: '500' }, // a second
    seconds: { type: 'string', default: '40' }, // without anybody at the desk, and as long with somebody
  },
})
const [rows, rate, seconds] = [Number(given.rows), Number(given.rate), Number(given.seconds)]
const quantile = (values: readonly number[], share: number) =>
  (
    values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN
  ).toFixed(0)
const told = (values: readonly number[]) =>
  `${values.length}: median ${quantile(values, 0.5)} ms, p99 ${quantile(values, 0.99)} ms, largest ${quantile(values, 1)} ms`

/** A year of payments of 1,000 cards, of which one in 250 is an open alarm and as many are judged; some to look at. */
async function fill(file: string) {
  const [yearAgo, every] = [Date.now() - 365 * 86_400_000, Math.floor((365 * 86_400_000) / rows)]
  const made: Record<string, string> = {
    trans_num: "'trans-' || n",
    event_time: `${yearAgo} + n * ${every}`,
    cc_num: '4000000000000000 + n * 7919 % 1000',
    merchant: "'fraud_M ' || n % 700",
    amt: 'n % 900 + 0.5',
    prediction: 'n % 125 = 0',
    score: 'CASE WHEN n % 125 = 0 THEN 0.9 ELSE 0.01 END',
    sampled: 'CASE WHEN n % 125 = 0 THEN 1.0 WHEN n % 360 = 0 THEN 0.003 END',
    fraud_confirmed: 'CASE WHEN n % 250 = 0 THEN n % 500 = 0 END',
    reviewed_at: `CASE WHEN n % 250 = 0 THEN ${yearAgo} + n END`,
  }
  await sqliteStore(file).close()
  const db = new DatabaseSync(file)
  const row = prediction(0) as Record<string, unknown>
  db.prepare(`WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < ${rows - 1})
    INSERT INTO predictions (${COLUMNS}) SELECT ${COLUMNS.map((c) => made[c] ?? `$${c}`)} FROM s`).run(
    Object.fromEntries(COLUMNS.filter((c) => !made[c]).map((c) => [`$${c}`, (row[c] ?? null) as never])),
  )
  db.exec(`UPDATE written SET rows = ${rows}`)
  db.close()
  const some = [1, 2, 3, 4].map((n) => Math.floor((rows * n) / 5 / 125) * 125)
  return some.map((n) => `/desk/${idOf({ trans_num: `trans-${n}`, event_time: yearAgo + n * every })}`)
}

await using dir = await tempDir()
const began = performance.now()
const payments = await fill(dir.file('fraud.db'))
console.log(`${rows} rows in ${((performance.now() - began) / 1000).toFixed(0)} s`)

const sent = new Map<string, number>()
const late: number[] = []
let [next, stopped] = [0, false]
await using producer = await httpServer((_, response) => {
  const now = Date.now()
  const some = Array.from({ length: rate / 10 }, () => {
    const n = next++
    if (n % (rate / 2) === 0) sent.set(`live-${n}`, performance.now())
    return row(n, {
      trans_num: `live-${n}`,
      current_time: now + (n % 90),
      amt: n % (rate / 2) === 0 ? 1000 + n / 1000 : 12,
    })
  })
  response.end(body(some))
})
await using model = await fakeModel()
const mail = new SMTPServer({
  authOptional: true,
  disabledCommands: ['STARTTLS'],
  onData(stream, _, done) {
    let text = ''
    stream.on('data', (part) => (text += part))
    stream.on('end', () => {
      for (const [name] of text.matchAll(/live-\d+/g)) {
        const at = sent.get(name)
        if (at !== undefined && !stopped) late.push(performance.now() - at)
        sent.delete(name)
      }
      done()
    })
  },
})
mail.listen(0, '127.0.0.1')
await once(mail.server, 'listening')
const port = await freePort()
await using worker = startWorker(dir.path, {
  ...{
    NODE_ENV: 'production',
    PRODUCER_URL: producer.url.href,
    PRODUCER_RATE_PER_MIN: '600',
    MODEL_URL: model.url.href,
  },
  ...{ SMTP_URL: `smtp://127.0.0.1:${(mail.server.address() as { port: number }).port}`, MODEL_NAME: 'rf/7' },
  ...{ ALERT_FROM: 'a@example.com', ALERT_TO: 'b@example.com', ALERT_BURST: '100000', ALERT_DAILY_LIMIT: '1000000' },
  ...{ ALERT_BREAKER: 'off', PORT: `${port}`, LOG_LEVEL: 'warn' },
  ...{ TOPICS_URL: `sqlite:${dir.file('topics.db')}`, DATABASE_URL: `sqlite:${dir.file('fraud.db')}` },
})
const look = async (path: string) => {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`)
  await answer.text()
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status}\n${worker.text()}`)
}
while (
  !(await look('/desk').then(
    () => true,
    () => false,
  ))
)
  await sleep(200)
await sleep(5000)

const paths = [
  '/desk',
  '/desk?tab=audit',
  '/desk?tab=done',
  ...payments,
  '/desk/search?q=0007',
  '/desk/search?q=M%20699',
  '/',
]
const took = new Map<string, number[]>(paths.map((path) => [path, []]))
const alarms: Record<string, number[]> = {}
for (const who of ['nobody', 'somebody']) {
  late.length = 0
  const [end, first] = [performance.now() + seconds * 1000, next]
  for (let n = 0; performance.now() < end; n++) {
    const path = paths[n % paths.length]!
    const start = performance.now()
    if (who === 'somebody') await look(path)
    if (who === 'somebody') took.get(path)!.push(performance.now() - start)
    await sleep(100)
  }
  alarms[who] = [...late]
  console.log(
    `alarms with ${who} at the desk, ${((next - first) / seconds).toFixed(0)} rows a second: ${told(alarms[who])}`,
  )
}
stopped = true
for (const [path, times] of took) console.log(`${path}  ${told(times)}`)
console.log(`all pages  ${told([...took.values()].flat())}`)
mail.close()
