// One scorer process and two, on the same backlog in Kafka, before a model that takes its time: npx node bench/scorers.ts
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { kafkaTopics } from '../src/engines/kafka/topics.ts'
import { startKafka } from '../test/kafka/broker.ts'
import { tempDir, transaction } from '../test/rows.ts'
import { startWorker } from '../test/worker.ts'

const TRANSACTIONS = 20_000
const PARTITIONS = 6
const BATCH = 50
const MODEL_WORKERS = 4
const REQUEST = 100 // ms
const ROW = 2 // ms
const GIVE_UP = 300_000 // ms

await using folder = await tempDir()
await using kafka = await startKafka()
await using model = await sleepyModel()
console.log(
  `${TRANSACTIONS} transactions in ${PARTITIONS} partitions, ${BATCH} a request; a model of ${MODEL_WORKERS} workers that take ${REQUEST} ms + ${ROW} ms a row, asleep; from the first prediction to the last`,
)
const rates: Record<number, number[]> = { 1: [], 2: [] }
for (const scorers of [1, 2, 2, 1]) rates[scorers]!.push(await measured(scorers))
const [one, two] = [mean(rates[1]!), mean(rates[2]!)]
console.log(`two beside one: ${(two / one).toFixed(2)}×`)

/** Predictions a second, on topics of its own. */
async function measured(scorers: number): Promise<number> {
  const prefix = `bench-${crypto.randomUUID()}-`
  const options = {
    brokers: kafka.brokers,
    prefix,
    partitions: PARTITIONS,
    log: pino({ level: 'warn' }),
    worker: false,
  }
  const topics = await kafkaTopics(options)
  await using running = new AsyncDisposableStack()
  running.defer(() => topics.close())
  for (let n = 0; n < TRANSACTIONS; n += 1000)
    await topics.append({ transactions: Array.from({ length: 1000 }, (_, i) => transaction(n + i)) })
  const started = Date.now()
  const workers = Array.from({ length: scorers }, (_, i) =>
    running.use(
      startWorker(folder.path, {
        NODE_ENV: 'production',
        STAGES: 'score',
        TOPICS_URL: `kafka://${kafka.brokers}`,
        KAFKA_PREFIX: prefix,
        SCORE_BATCH_SIZE: String(BATCH),
        MODEL_URL: model.url,
        MODEL_NAME: `scorer ${i + 1}`,
      }),
    ),
  )
  while ((await topics.snapshot()).lag.score.records > 0) {
    if (Date.now() - started > GIVE_UP) throw new Error(workers.map((worker) => worker.text().slice(-2000)).join('\n'))
    await sleep(500)
  }
  for (const worker of workers) worker.kill('SIGTERM')
  await Promise.all(workers.map((worker) => worker.end))

  const times: number[] = []
  const by = new Map<string | null, number>()
  const seen = new Set<string>()
  for await (const { record } of topics.scan('predictions')) {
    times.push(record.predicted_at)
    by.set(record.model, (by.get(record.model) ?? 0) + 1)
    seen.add(record.trans_num)
  }
  if (times.length !== TRANSACTIONS || seen.size !== TRANSACTIONS)
    throw new Error(`${TRANSACTIONS} transactions, ${times.length} predictions of ${seen.size}`)
  const first = times.reduce((a, b) => Math.min(a, b))
  const last = times.reduce((a, b) => Math.max(a, b))
  const rate = (1000 * TRANSACTIONS) / (last - first)
  const shares = [...by.values()].join(' + ')
  console.log(
    `  ${scorers === 1 ? 'one scorer ' : 'two scorers'} ${rate.toFixed(0).padStart(5)}/s  ${((last - first) / 1000).toFixed(1).padStart(5)} s  ${shares}`,
  )
  return rate
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Speaks MLflow's protocol. Who finds every worker busy waits. */
async function sleepyModel() {
  let busy = 0
  const waiting: (() => void)[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const { data } = JSON.parse(Buffer.concat(chunks).toString()).dataframe_split
    if (busy === MODEL_WORKERS) await new Promise<void>((resolve) => waiting.push(resolve))
    else busy++
    await sleep(REQUEST + ROW * data.length)
    const next = waiting.shift()
    if (next) next()
    else busy--
    response.end(JSON.stringify({ predictions: data.map(() => 0) }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
