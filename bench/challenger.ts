import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { modelServer, type Row, type Saying } from '../test/score/server.ts'
import { startWorker } from '../test/worker.ts'
import type { Lap } from './probe.ts'
import { openWorld, rowOf } from './world.ts'

// What a challenger costs the champion, whatever it does: node bench/challenger.ts [--seconds 30] [--rate 100] [--burst 10000] [--runs 1]
//   [--only 'no challenger,frozen']

const { values: given } = parseArgs({
  options: {
    seconds: { type: 'string', default: '30' },
    rate: { type: 'string', default: '100' },
    burst: { type: 'string', default: '10000' },
    runs: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
})
const [seconds, rate, burst, runs] = [given.seconds, given.rate, given.burst, given.runs].map(Number) as [
  number,
  number,
  number,
  number,
]
const WAIT = 300_000
const well = (rows: Row[]): Saying => ({ predictions: rows.map(() => 0) })
type Ill = (rows: Row[], healed: Promise<unknown>) => Saying | Promise<Saying>
const isOdd = (trans_num: unknown) => Number.parseInt(String(trans_num).at(-1)!, 16) % 2 === 1
/** The slow one takes a hundred times as long for a row as the champion. */
const STATES: Record<string, Ill | undefined> = {
  'no challenger': undefined,
  well,
  frozen: (rows, healed) => healed.then(() => well(rows)),
  'answers 500': () => ({ status: 500, text: 'broken' }),
  'wrong shape': () => ({ predictions: [[{ a: 1 }]] }),
  'wrong for a half': (rows) => ({ predictions: rows.map(({ trans_num }) => (isOdd(trans_num) ? null : 0)) }),
  '1/100 of the speed': (rows, healed) => Promise.race([sleep(rows.length * 2), healed]).then(() => well(rows)),
}

async function measured(name: string, ill: Ill | undefined) {
  await using world = await openWorld({ request: 2, row: 0.02, exclusive: 1 }, 0.05, 1000)
  const healed = Promise.withResolvers<void>()
  let say: Ill = ill ?? well
  await using challenger = await modelServer((rows) => say(rows, healed.promise))
  const folder = await mkdtemp(join(tmpdir(), 'challenger-'))
  const laps = join(folder, 'laps.json')
  const more = ill ? { CHALLENGER_URL: challenger.url.href, CHALLENGER_NAME: 'next' } : {}
  const probe = { NODE_OPTIONS: `--import=${join(import.meta.dirname, 'probe.ts')}`, BENCH_LAPS: laps }
  await using worker = startWorker(folder, { ...world.env, MODEL_NAME: 'now', ...more, ...probe })
  const count = (table: string, where = '') => {
    try {
      using db = Object.assign(new DatabaseSync(join(folder, 'data/fraud.db'), { readOnly: true }), {})
      return Number(db.prepare(`SELECT count(*) AS n FROM ${table} ${where}`).get()!.n)
    } catch {
      return 0 // not yet
    }
  }
  const until = async (what: string, look: () => boolean) => {
    for (const end = Date.now() + WAIT; !look(); await sleep(100))
      if (Date.now() > end || !worker.running()) throw new Error(`${name}: no ${what} in time\n${worker.text()}`)
  }
  await until('call', () => world.state.calls > 0)
  await sleep(2000) // the challenger begins where the topic ends
  worker.kill('SIGUSR2')
  const first = Math.ceil(rate * seconds)
  for (let i = 0, due = performance.now(); i < first; i++) {
    due += 1000 / rate
    await sleep(Math.max(0, due - performance.now()))
    world.offer(1)
  }
  await until('row', () => count('predictions') >= first)
  const { had, model, from } = world.state.times
  const over = [...world.state.mails.keys()].map((i) => from[i]! - had[i]! - model[i]!).sort((a, b) => a - b)
  const began = performance.now()
  world.offer(burst)
  await until('burst', () => count('predictions') >= first + burst)
  const drained = burst / ((performance.now() - began) / 1000)
  worker.kill('SIGUSR2') // what it takes to catch up is not the champion's time
  await sleep(200)
  const { length: asked } = challenger.asked
  say = well
  healed.resolve()
  const ended = performance.now()
  const last = rowOf(first + burst - 1).current_time
  if (ill) await until('judgement of the last row', () => count('judgements', `WHERE event_time = ${last}`) === 1)
  const caught = (performance.now() - ended) / 1000
  worker.kill('SIGTERM')
  await worker.end
  const found = JSON.parse(await readFile(laps, 'utf8')) as Lap[]
  await rm(folder, { recursive: true })
  const at = (share: number) => over[Math.floor(share * (over.length - 1))]!.toFixed(0)
  return {
    'alarm p50, ms': at(0.5),
    'alarm p99, ms': at(0.99),
    'rows a second of a burst': drained.toFixed(0),
    'CPU of a row, µs': (found[1]!.cpu / (first + burst)).toFixed(0),
    'most memory, MB': found[1]!.peak.toFixed(0),
    'loop p99, ms': found[1]!.p99.toFixed(1),
    'requests to it': asked,
    'caught up after, s': ill ? caught.toFixed(0) : '',
  }
}

for (let run = 0; run < runs; run++)
  for (const [name, ill] of Object.entries(STATES)) {
    if (given.only && !given.only.split(',').includes(name)) continue
    console.table({ [name]: await measured(name, ill) })
  }
