import { execFileSync, spawn } from 'node:child_process'
import { copyFile, readFile } from 'node:fs/promises'
import { Agent, get } from 'node:http'
import { cpus, loadavg } from 'node:os'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { openEngine } from '../test/accept/engines.ts'
import { disposable } from '../test/outside.ts'
import { httpServer, tempDir } from '../test/rows.ts'
import { startWorker } from '../test/worker.ts'
import { check } from './check.ts'
import { median, openReport } from './report.ts'
import { started, watched } from './started.ts'
import { openWorld, rowOf, type World } from './world.ts'

// What takes longer than bench.ts, or another engine: node bench/more.ts --only row,fsync,webhook,waiting,again,soak,engines

const { values: given } = parseArgs({
  options: {
    only: { type: 'string', default: 'row,fsync,webhook,waiting,again,soak' },
    rows: { type: 'string', default: '20000' },
    many: { type: 'string', default: '1000000' }, // rows that wait, beside `rows`
    seconds: { type: 'string', default: '600' }, // of the soak, at `rate` rows a second
    rate: { type: 'string', default: '2500' },
    engines: { type: 'string', default: 'sqlite,postgres,kafka' },
    scorers: { type: 'string', default: '1,2,4' },
  },
})
const [rows, many] = [Number(given.rows), Number(given.many)]
const [seconds, rate] = [Number(given.seconds), Number(given.rate)]
const report = openReport(['worker'])
const note = (figure: string, value: number) => report.note(figure, 'worker', value)
const cost = { request: 17, row: 0.03, exclusive: 0.74 }
const since = (began: number) => performance.now() - began
const DRAIN = { STAGES: 'score,alert,record' }

/** One row a call, before a model of 2 ms, as a share of who calls for one row after the other and keeps nothing. */
async function oneRowACall() {
  const calls = 3000
  await using alone = await openWorld(cost, 0)
  alone.offer(calls)
  const agent = new Agent({ keepAlive: true })
  const began = performance.now()
  for (let i = 0; i < calls; i++)
    await new Promise<void>((resolve, reject) => {
      get(alone.env.PRODUCER_URL, { agent }, (answer) => answer.resume().on('end', resolve)).on('error', reject)
    })
  agent.destroy()
  const bare = (calls / since(began)) * 1000
  await using folder = await tempDir()
  await using world = await openWorld({ request: 2, row: 0, exclusive: 1 }, 0)
  await using worker = started(startWorker, folder.path, world.env)
  await worker.until('call', () => world.state.calls > 0)
  await sleep(500)
  const first = performance.now()
  world.offer(calls)
  using recorded = watched(folder.path, 'fraud.db', 'predictions')
  await worker.until('rows recorded', () => recorded.count() >= calls)
  const ours = (calls / since(first)) * 1000
  await sleep(1000) // the last positions
  await worker.stop()
  check(folder.path, world)
  note('one row a call, rows a second', ours)
  note('one row a call, % of a caller that keeps nothing', (100 * ours) / bare)
}

/** fsyncs of all threads, by strace, for one row a call at 10 a second. */
async function fsyncs(share: number) {
  const count = 100
  await using folder = await tempDir()
  await using world = await openWorld({ request: 2, row: 0, exclusive: 1 }, share)
  await using worker = started(startWorker, folder.path, world.env)
  await worker.until('call', () => world.state.calls > 0)
  await sleep(1000)
  const pid = execFileSync('pgrep', ['-n', '-P', `${process.pid}`, '-f', 'main.ts'], { encoding: 'utf8' }).trim()
  const out = folder.file('strace')
  const tracing = spawn('strace', ['-f', '-qq', '-e', 'trace=fsync,fdatasync', '-o', out, '-p', pid])
  await sleep(1000)
  for (let i = 0; i < count; i++) {
    world.offer(1)
    await sleep(100)
  }
  using recorded = watched(folder.path, 'fraud.db', 'predictions')
  await worker.until('the rows', () => recorded.count() >= count && world.state.mails.size >= count * share)
  await sleep(1000) // the last positions
  tracing.kill('SIGINT')
  await new Promise((resolve) => tracing.on('close', resolve))
  const seen = (await readFile(out, 'utf8')).split('\n').filter((line) => /f(data)?sync\(/.test(line)).length
  await worker.stop()
  check(folder.path, world)
  note(`fsyncs a transaction, one row a call${share > 0 ? ', each a fraud and mailed' : ''}`, seen / count)
}

/** From when the producer has a row to its post, but for the model's time, at `rate` a second; each is mailed as well. */
async function webhook(rate: number) {
  const count = 25 + 6 * rate
  const posted = new Map<string, number>()
  await using sink = await httpServer(({ text }, response) => {
    for (const { trans_num } of JSON.parse(text).frauds) posted.set(trans_num, performance.now())
    response.end()
  })
  await using folder = await tempDir()
  await using world = await openWorld({ ...cost, exclusive: 1 }, 1)
  await using worker = started(startWorker, folder.path, { ...world.env, ALERT_WEBHOOK_URL: sink.url.href })
  await worker.until('call', () => world.state.calls > 0)
  const { had, model } = world.state.times
  for (let i = 0, due = performance.now(); i < count; i++) {
    due -= (Math.log(1 - Math.random()) * 1000) / rate
    await sleep(Math.max(0, due - performance.now()))
    world.offer(1)
  }
  await worker.until('posts and mails', () => posted.size >= count && world.state.mails.size >= count)
  await sleep(1000) // the last positions
  await worker.stop()
  check(folder.path, world)
  if (sink.received.length !== count) throw new Error(`${sink.received.length} posts of ${count} alarms`)
  const over = Array.from({ length: count }, (_, i) => posted.get(rowOf(i).trans_num)! - had[i]! - model[i]!)
  over.splice(0, 15) // the first ones compile
  over.sort((a, b) => a - b)
  note(`webhook at ${rate} a second, ms beyond the model, p50`, median(over))
  note(`webhook at ${rate} a second, ms beyond the model, p99`, over[Math.floor(0.99 * over.length)]!)
}

/** A topics.db in which `rows` wait, as the fetch stage writes it. */
async function fill(folder: string, world: World) {
  await using worker = started(startWorker, folder, { ...world.env, STAGES: 'fetch' })
  world.offer(rows)
  {
    using topics = watched(folder, 'topics.db', 'transactions')
    await worker.until('rows fetched', () => topics.count() >= rows)
  }
  await worker.stop()
}
function multiply(path: string) {
  using db = disposable(new DatabaseSync(path))
  const copy = db.prepare('INSERT INTO transactions (at, record) SELECT at, record FROM transactions WHERE offset <= ?')
  for (let n = rows; n < many; n += rows) copy.run(rows)
}

/** Rows a second for the first `rows`. */
async function drained(folder: string, world: World) {
  world.forget()
  await using worker = started(startWorker, folder, { ...world.env, ...DRAIN })
  await worker.until('request', () => world.state.requests > 0, 1)
  const began = performance.now()
  using recorded = watched(folder, 'fraud.db', 'predictions')
  await worker.until('rows recorded', () => recorded.count() >= rows)
  const found = (rows / since(began)) * 1000
  await sleep(1000)
  await worker.stop()
  return found
}

/** The same rows, with so many behind them and with none. */
async function waiting() {
  await using world = await openWorld(cost, 0, 1000)
  await using small = await tempDir()
  await using large = await tempDir()
  await fill(small.path, world)
  await copyFile(small.file('topics.db'), large.file('topics.db'))
  multiply(large.file('topics.db'))
  const few = await drained(small.path, world)
  const found = await drained(large.path, world)
  note(`drain with ${many} waiting against ${rows}, %`, (100 * found) / few)
}

/** What is asked of the rows again. */
async function again() {
  await using world = await openWorld({ ...cost, exclusive: 0 }, 0, 1000)
  await using folder = await tempDir()
  await fill(folder.path, world)
  await drained(folder.path, world)
  check(folder.path, world)
  for (const args of [['audit'], ['replay', '--stage', 'score', '--into', folder.file('again.csv')]]) {
    const began = performance.now()
    const { TOPICS_URL, DATABASE_URL } = places(folder.path)
    await using command = startWorker(folder.path, { ...world.env, TOPICS_URL, DATABASE_URL }, ...args)
    const { code } = await command.end
    if (code !== 0) throw new Error(command.text())
    note(`${args[0]} of ${rows} rows, s`, since(began) / 1000)
  }
}
const places = (folder: string) => ({
  TOPICS_URL: `sqlite:${folder}/topics.db`,
  DATABASE_URL: `sqlite:${folder}/fraud.db`,
})

/** Rows as they come, for long: memory in the middle and at the end. */
async function soak() {
  const each = rate / 10
  await using world = await openWorld(cost, 0.0005, each)
  await using folder = await tempDir()
  await using worker = started(startWorker, folder.path, world.env)
  await worker.until('call', () => world.state.calls > 0)
  using recorded = watched(folder.path, 'fraud.db', 'predictions')
  worker.lap()
  const began = performance.now()
  for (let tick = 1; tick <= seconds * 10; tick++) {
    world.offer(each)
    if (tick % 100 === 0) worker.lap()
    await sleep(Math.max(0, tick * 100 - since(began)))
  }
  await worker.until('rows recorded', () => recorded.count() >= seconds * rate)
  await sleep(1000)
  const laps = await worker.stop()
  check(folder.path, world)
  const working = laps.slice(1, -1)
  const figure = (what: string, value: number) => note(`soak of ${seconds} s at ${rate}/s, ${what}`, value)
  figure('memory MB in the middle', working[working.length >> 1]!.memory)
  figure('memory MB at the end', working.at(-1)!.memory)
  figure('most memory, MB', laps.at(-1)!.peak)
  figure('event loop p99 of 10 s, ms', Math.max(...working.map(({ p99 }) => p99)))
  figure('event loop longest, ms', Math.max(...working.map(({ longest }) => longest)))
  figure('CPU µs a row', working.reduce((sum, { cpu }) => sum + cpu, 0) / (seconds * rate))
}

/** A backlog judged, told and recorded by so many processes alike, on each engine. */
async function engines(name: 'sqlite' | 'postgres' | 'kafka', scorers: number) {
  await using world = await openWorld({ ...cost, exclusive: 0 }, 0, 1000)
  await using folder = await tempDir()
  await using engine = await openEngine(name, folder.path)
  const env = { ...world.env, ...engine.env }
  {
    await using fetching = started(startWorker, folder.path, { ...env, STAGES: 'fetch' })
    world.offer(rows)
    await fetching.until('rows fetched', () => world.state.sent === rows)
    await sleep(3000) // the last of them are kept
    await fetching.stop()
  }
  await using running = new AsyncDisposableStack()
  const workers = []
  for (let i = 0; i < scorers; i++) {
    const own = running.use(await tempDir())
    workers.push(running.use(started(startWorker, own.path, { ...env, ...DRAIN })))
  }
  await workers[0]!.until('request', () => world.state.requests > 0, 1)
  const began = performance.now()
  const count = async () =>
    Number(Object.values((await engine.ask('SELECT count(*) AS n FROM predictions').catch(() => []))[0] ?? { n: 0 })[0])
  await workers[0]!.until('rows recorded', async () => (await count()) >= rows, 50)
  note(`${name}, ${scorers} of each stage: rows a second`, (rows / since(began)) * 1000)
  await Promise.all(workers.map((worker) => worker.stop()))
  const seen = new Set((await engine.rows()).map(({ trans_num }) => trans_num))
  if (seen.size !== rows) throw new Error(`${name}: ${seen.size} of ${rows}`)
}

const MEASURES: Record<string, () => Promise<void>> = {
  row: oneRowACall,
  fsync: async () => {
    await fsyncs(0)
    await fsyncs(1)
  },
  webhook: async () => {
    await webhook(1)
    await webhook(10)
  },
  waiting,
  again,
  soak,
  engines: async () => {
    for (const name of given.engines.split(',') as ('sqlite' | 'postgres' | 'kafka')[])
      for (const scorers of name === 'sqlite' ? [1] : given.scorers.split(',').map(Number)) await engines(name, scorers)
  },
}
for (const name of given.only.split(',')) {
  await MEASURES[name]!()
  console.error(`${name}; load ${loadavg().map((load) => load.toFixed(1))}`)
}
console.log(`${rows} rows, ${cpus().length} × ${cpus()[0]!.model}\n\n${report.table()}`)
process.exit()
