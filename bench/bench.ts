import { execFile } from 'node:child_process'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { cpus, loadavg } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'
import { tempDir } from '../test/rows.ts'
import type { startWorker } from '../test/worker.ts'
import { check } from './check.ts'
import type { Lap } from './probe.ts'
import { median, openReport } from './report.ts'
import { started, watched } from './started.ts'
import { type Cost, isFraud, openWorld, rowOf, type World } from './world.ts'

// How fast the worker is, beside what the model server alone allows: docs/speed.md. Options: see below; --smoke proves
// that it runs and that nothing is lost or doubled, at a hundredth of the size, and says nothing of time.

const { values: given } = parseArgs({
  options: {
    smoke: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false }, // docs/speed.md and docs/speed.svg
    only: { type: 'string', default: 'drain,alarm,start' },
    rows: { type: 'string', default: '100000' },
    runs: { type: 'string', default: '5' },
    batches: { type: 'string', default: '500,1000' },
    rates: { type: 'string', default: '1,10,50' }, // alarms a second
    share: { type: 'string', default: '0.005' }, // of frauds in the drain
    request: { type: 'string', default: '17' }, // the model: ms a request, ms a row, share of them for one at a time
    row: { type: 'string', default: '0.03' },
    exclusive: { type: 'string', default: '0.74' },
    node: { type: 'string', default: '' }, // more for Node.js, e.g. --node="--cpu-prof --cpu-prof-dir=/tmp"
    beside: { type: 'string', multiple: true, default: [] }, // other checkouts, with their node_modules
  },
})
if (given.smoke) Object.assign(given, { rows: '1000', runs: '1', batches: '100', rates: '20' })
const [rows, runs, share] = [Number(given.rows), Number(given.runs), Number(given.share)]
const cost: Cost = { request: Number(given.request), row: Number(given.row), exclusive: Number(given.exclusive) }
const numbers = (list: string) => list.split(',').map(Number)
const here = (name: string) => join(import.meta.dirname, name)
const [LEAST, SECONDS, WARM_UP] = given.smoke ? [5, 0.2, 2] : [25, 6, 15] // alarms and time at each rate
const GIVE_UP = given.smoke ? 30_000 : 300_000

const checkouts = [
  { name: 'worker', path: resolve(here('..')) },
  ...given.beside.map((path) => ({ name: basename(resolve(path)), path: resolve(path) })),
]
const report = openReport(checkouts.map(({ name }) => name))
const projects = await Promise.all(
  checkouts.map(async ({ name, path }) => ({
    name,
    start: ((await import(join(path, 'test/worker.ts'))) as { startWorker: typeof startWorker }).startWorker,
  })),
)
type Project = (typeof projects)[number]
let passed = 0

/** The worker of a checkout in a folder, measured from inside. */
const begun = ({ start }: Project, folder: string, env: Record<string, string>) =>
  started(start, folder, env, { giveUp: GIVE_UP, node: given.node })

/** A topics.db in which all rows wait to be judged, as the fetch stage writes it. */
async function fill(folder: string, world: World) {
  await using worker = begun(projects[0]!, folder, { ...world.env, STAGES: 'fetch' })
  world.offer(rows)
  {
    using topics = watched(folder, 'topics.db', 'transactions') // who looks on keeps the last pages in the -wal
    await worker.until('rows fetched', () => topics.count() >= rows)
  }
  await worker.stop()
}

/** Rows a second of the model server alone, two requests in flight. */
async function bare(world: World, batch: number): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, [here('bare.ts'), world.model, `${rows}`, `${batch}`])
  report.note(`drain by ${batch}, rows a second`, 'model alone', Number(stdout))
  return Number(stdout)
}

async function drain(project: Project, world: World, filled: string, batch: number, limit: number) {
  await using folder = await tempDir()
  await copyFile(join(filled, 'topics.db'), folder.file('topics.db'))
  world.forget()
  const sizes = { SCORE_BATCH_SIZE: `${batch}`, RECORD_BATCH_SIZE: `${batch}` }
  await using worker = begun(project, folder.path, { ...world.env, ...sizes, STAGES: 'score,alert,record' })
  await worker.until('request to the model', () => world.state.requests > 0, 1)
  const began = performance.now()
  worker.lap()
  using recorded = watched(folder.path, 'fraud.db', 'predictions')
  await worker.until('rows recorded', () => recorded.count() >= rows)
  const rate = rows / ((performance.now() - began) / 1000)
  worker.lap()
  const mailed = world.state.mails.size / ((performance.now() - began) / 1000)
  const frauds = Array.from({ length: rows }, (_, i) => i).filter((i) => isFraud(rowOf(i).trans_num, share))
  await worker.until('alarms', () => world.state.mails.size >= frauds.length)
  await sleep(200) // so that what is done twice is seen
  const laps = await worker.stop()
  check(folder.path, world)
  const [, lap] = laps as [Lap, Lap, Lap]
  const note = (figure: string, value: number) => report.note(`drain by ${batch}, ${figure}`, project.name, value)
  note('rows a second', rate)
  note('% of the model alone', (100 * rate) / limit)
  note('CPU µs a row', lap.cpu / rows)
  note('alarms a second', mailed)
  note('most memory, MB', Math.max(...laps.map(({ peak }) => peak)))
  note('event loop p99, ms', lap.p99)
  note('event loop longest, ms', lap.longest)
}

/** From when the producer had a row to its mail, but for the time that the model took, at a rate as of chance. */
async function alarm(project: Project, rate: number) {
  await using folder = await tempDir()
  await using world = await openWorld({ ...cost, exclusive: 1 }, 1)
  await using worker = begun(project, folder.path, world.env)
  await worker.until('call', () => world.state.calls > 0)
  const mailed = (count: number) => worker.until(`alarm ${count}`, () => world.state.mails.size >= count)
  for (let i = 1; i <= WARM_UP; i++) {
    world.offer(1)
    await mailed(i)
  }
  const count = Math.max(LEAST, rate * SECONDS)
  for (let i = 0, due = performance.now(); i < count; i++) {
    due -= (Math.log(1 - Math.random()) * 1000) / rate
    await sleep(Math.max(0, due - performance.now()))
    world.offer(1)
  }
  await mailed(WARM_UP + count)
  await sleep(200)
  await worker.stop()
  check(folder.path, world)
  const { had, model, from } = world.state.times
  const over = Array.from({ length: count }, (_, i) => i + WARM_UP).map((i) => from[i]! - had[i]! - model[i]!)
  report.note(`alarm at ${rate} a second, ms beyond the model, p50`, project.name, median(over))
  over.sort((a, b) => a - b)
  report.note(`alarm at ${rate} a second, ms beyond the model, p99`, project.name, over[Math.floor(0.99 * count)]!)
}

async function start(project: Project) {
  await using folder = await tempDir()
  await using world = await openWorld(cost, 0)
  const began = performance.now()
  await using worker = begun(project, folder.path, world.env)
  await worker.until('call', () => world.state.calls > 0, 1)
  report.note('start to the first call, ms', project.name, performance.now() - began)
  await sleep(given.smoke ? 200 : 3000)
  const [lap] = await worker.stop()
  report.note('memory without work, MB', project.name, lap!.memory)
}

const wanted = (name: string) => given.only.split(',').includes(name)
await using filled = await tempDir()
await using world = await openWorld(cost, share, 1000)
if (wanted('drain')) await fill(filled.path, world)
for (let run = 0; run < runs; run++) {
  const order = run % 2 === 0 ? projects : projects.toReversed()
  for (const batch of wanted('drain') ? numbers(given.batches) : []) {
    const limit = await bare(world, batch)
    for (const project of order) await drain(project, world, filled.path, batch, limit).then(() => passed++)
  }
  for (const rate of wanted('alarm') ? numbers(given.rates) : [])
    for (const project of order) await alarm(project, rate).then(() => passed++)
  for (const project of wanted('start') ? order : []) await start(project).then(() => passed++)
  console.error(`run ${run + 1} of ${runs}; load ${loadavg().map((load) => load.toFixed(1))}`)
}
const machine = `${cpus().length} × ${cpus()[0]!.model}, load average ${loadavg()[2]!.toFixed(0)} over 15 minutes`
const about = `${rows} rows, ${runs} runs, ${machine}; medians (least–most)`
console.log(`${about}\n\n${report.table()}\n`)
if (given.write) {
  const page = await readFile(here('../docs/speed.md'), 'utf8')
  const block = `<!-- figures -->\n${about}:\n\n${report.table()}\n<!-- /figures -->`
  await writeFile(
    here('../docs/speed.md'),
    page.replace(/<!-- figures -->.*<!-- \/figures -->/s, () => block),
  )
  await writeFile(here('../docs/speed.svg'), report.plot())
}
console.log(`bench: ${passed} passed, 0 failed: nothing lost, nothing doubled`)
process.exit()
