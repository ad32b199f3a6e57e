import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { SMTPServer } from 'smtp-server'
import { COLUMNS } from '../src/columns.ts'
import { postgresStore } from '../src/engines/postgres/store.ts'
import { sqliteStore } from '../src/record/sqlite.ts'
import { idOf } from '../src/review/reviews.ts'
import { fakeModel } from '../test/outside.ts'
import { startPostgres } from '../test/postgres.ts'
import { body, freePort, httpServer, prediction, row, tempDir } from '../test/rows.ts'
import { startWorker } from '../test/worker.ts'
import type { Lap } from './probe.ts'

// How long the pages of the desk take over many rows while others come in, and what that costs an alarm:
// node bench/desk.ts [--rows 1000000] [--rate 500] [--seconds 80] [--postgres]
// Nobody and somebody take turns of ten seconds, so that what else the machine does falls to both.

const { values: given } = parseArgs({
  options: {
    rows: { type: 'string', default: '1000000' },
    rate: { type: 'string', default: '500' }, // a second
    postgres: { type: 'boolean', default: false }, // the rows there, not in SQLite
    seconds: { type: 'string', default: '80' }, // without anybody at the desk, and as long with somebody
  },
})
const [rows, rate, seconds] = [Number(given.rows), Number(given.rate), Number(given.seconds)]
/** payments that are opened, one after the other; seconds of a turn; alarms a second */
const [LOOKED_AT, TURN, ALARMS] = [40, 10, 5]
const quantile = (values: readonly number[], share: number) =>
  (
    values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN
  ).toFixed(0)
const told = (values: readonly number[]) =>
  `${values.length}: median ${quantile(values, 0.5)} ms, p99 ${quantile(values, 0.99)} ms, largest ${quantile(values, 1)} ms`

type Place = { url: string; fill(made: Record<string, string>, row: Record<string, unknown>): Promise<void> }
const quoted = (value: unknown) => (typeof value === 'string' ? `'${value.replaceAll("'", "''")}'` : (value ?? 'NULL'))
const insert = (made: Record<string, string>, row: Record<string, unknown>, series: string) =>
  `INSERT INTO predictions (${COLUMNS}) SELECT ${COLUMNS.map((c) => made[c] ?? quoted(row[c]))} FROM ${series}`
const sqlite = (file: string): Place => ({
  url: `sqlite:${file}`,
  async fill(made, row) {
    await sqliteStore(file).close()
    const series = `(WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < ${rows - 1}) SELECT n FROM s)`
    const db = new DatabaseSync(file)
    db.exec(`${insert(made, row, series)}; UPDATE written SET rows = ${rows}`)
    db.close()
  },
})
const postgres = (url: URL): Place => ({
  url: url.href,
  async fill(made, row) {
    const store = postgresStore(url)
    await store.missing([]).finally(() => store.close())
    const client = new pg.Client({ connectionString: url.href })
    await client.connect()
    await client.query(insert(made, row, `generate_series(0::bigint, ${rows - 1}) AS s (n)`))
    await client.query('ANALYZE predictions')
    await client.end()
  },
})

/** A year of payments of 1,000 cards, of which one in 250 is an open alarm and as many are judged; some to look at. */
async function fill(place: Place) {
  const [yearAgo, every] = [Date.now() - 365 * 86_400_000, Math.floor((365 * 86_400_000) / rows)]
  const made: Record<string, string> = {
    trans_num: "'trans-' || n",
    event_time: `${yearAgo} + n * ${every}`,
    cc_num: '4000000000000000 + n * 7919 % 1000',
    merchant: "'fraud_M ' || (n % 700)",
    amt: 'n % 900 + 0.5',
    prediction: 'CASE WHEN n % 125 = 0 THEN 1 ELSE 0 END',
    score: 'CASE WHEN n % 125 = 0 THEN 0.9 ELSE 0.01 END',
    sampled: 'CASE WHEN n % 125 = 0 THEN 1.0 WHEN n % 360 = 0 THEN 0.003 END',
    fraud_confirmed: 'CASE WHEN n % 500 = 0 THEN 1 WHEN n % 250 = 0 THEN 0 END',
    reviewed_at: `CASE WHEN n % 250 = 0 THEN ${yearAgo} + n END`,
  }
  await place.fill(made, prediction(0) as Record<string, unknown>)
  const some = Array.from({ length: LOOKED_AT }, (_, n) => Math.floor((rows * (n + 1)) / (LOOKED_AT + 1) / 125) * 125)
  return some.map((n) => `/desk/${idOf({ trans_num: `trans-${n}`, event_time: yearAgo + n * every })}`)
}

await using dir = await tempDir()
const began = performance.now()
await using stack = new AsyncDisposableStack()
const server = given.postgres ? stack.use(await startPostgres()) : undefined
const place = server ? postgres(await server.database()) : sqlite(dir.file('fraud.db'))
const payments = await fill(place)
console.log(`${rows} rows in ${((performance.now() - began) / 1000).toFixed(0)} s`)

const sent = new Map<string, number>()
const late: number[] = []
let [next, stopped] = [0, false]
await using producer = await httpServer((_, response) => {
  const now = Date.now()
  const some = Array.from({ length: rate / 10 }, () => {
    const n = next++
    if (n % (rate / ALARMS) === 0) sent.set(`live-${n}`, performance.now())
    return row(n, {
      trans_num: `live-${n}`,
      current_time: now + (n % 90),
      amt: n % (rate / ALARMS) === 0 ? 1000 + n / 1000 : 12,
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
  ...{ NODE_OPTIONS: `--import=${join(import.meta.dirname, 'probe.ts')}`, BENCH_LAPS: dir.file('laps.json') },
  ...{ ALERT_BREAKER: 'off', PORT: `${port}`, LOG_LEVEL: 'warn' },
  ...{ TOPICS_URL: `sqlite:${dir.file('topics.db')}`, DATABASE_URL: place.url },
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

const others = ['/desk', '/desk?tab=audit', '/desk?tab=done', '/desk/search?q=0007', '/desk/search?q=M%20699', '/']
const paths = payments.flatMap((payment, n) => [payment, others[n % others.length]!])
const took = new Map<string, number[]>()
const alarms: Record<string, number[]> = { nobody: [], somebody: [] }
const [start, first] = [performance.now(), next]
let n = 0
for (let turn = 0; turn < (2 * seconds) / TURN; turn++) {
  const who = turn % 2 === 0 ? 'nobody' : 'somebody'
  late.length = 0
  for (const end = performance.now() + TURN * 1000; performance.now() < end; await sleep(100)) {
    if (who === 'nobody') continue
    const [path, asked] = [paths[n++ % paths.length]!, performance.now()]
    await look(path)
    const name = payments.includes(path) ? 'a payment' : path
    took.set(name, [...(took.get(name) ?? []), performance.now() - asked])
  }
  alarms[who]!.push(...late)
}
console.log(`${(((next - first) / (performance.now() - start)) * 1000).toFixed(0)} rows a second`)
for (const [who, times] of Object.entries(alarms)) console.log(`alarms with ${who} at the desk  ${told(times)}`)
stopped = true
for (const [path, times] of took) console.log(`${path}  ${told(times)}`)
console.log(`all pages  ${told([...took.values()].flat())}`)
worker.kill('SIGUSR2')
const asked = performance.now()
await look('/desk/models') // every row is counted: boards, curve, drift
const counted = (performance.now() - asked) / 1000
worker.kill('SIGUSR2')
await sleep(200)
worker.kill('SIGTERM')
await worker.end
const { p99, longest } = (JSON.parse(readFileSync(dir.file('laps.json'), 'utf8')) as Lap[])[1]!
console.log(
  `/desk/models, board and drift: ${counted.toFixed(1)} s, event loop meanwhile p99 ${p99.toFixed(1)} ms, longest ${longest.toFixed(0)} ms`,
)
mail.close()
