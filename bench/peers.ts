import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { parse } from '../src/io/json.ts'
import { seeded } from '../src/simulate/random.ts'
import { basePython, cacheFolder, makeVenv, run } from '../test/mlflow/environment.ts'
import { recorded } from '../test/outside.ts'
import { tempDir } from '../test/rows.ts'
import { startProgram, startWorker } from '../test/worker.ts'
import { openReport } from './report.ts'
import { isFraud, openWorld, rowOf, type World } from './world.ts'

// The worker beside what else one would do it with, one row a call: docs/speed.md. node bench/peers.ts, options below.
// The first run installs requests, pandas and Node-RED into the user's cache folder.

const { values: given } = parseArgs({
  options: {
    only: { type: 'string', default: 'worker,python,node-red' },
    rows: { type: 'string', default: '300' },
    runs: { type: 'string', default: '3' },
    kills: { type: 'string', default: '5' },
    share: { type: 'string', default: '0.05' }, // of frauds
    request: { type: 'string', default: '17' }, // the model: ms a request, ms a row, share of them for one at a time
    row: { type: 'string', default: '0.03' },
    exclusive: { type: 'string', default: '0.74' },
  },
})
const [rows, runs, kills, share] = [given.rows, given.runs, given.kills, given.share].map(Number) as [
  number,
  number,
  number,
  number,
]
const cost = { request: Number(given.request), row: Number(given.row), exclusive: Number(given.exclusive) }
const PIP = ['requests==2.34.2', 'pandas==2.3.3']
const NPM = ['node-red@5.0.7', 'node-red-node-email@5.2.5']
const SETTLED = 5000 // ms without anything new

type Row = Record<string, unknown>
type Running = Pick<ReturnType<typeof startWorker>, 'kill' | 'end' | 'text' | typeof Symbol.asyncDispose>
type Peer = { start(folder: string, world: World): Promise<Running>; rows(folder: string): Promise<Row[]> }

/** A folder of the cache with these packages in it. */
async function installed(name: string, packages: readonly string[], install: (folder: string) => Promise<unknown>) {
  const folder = join(cacheFolder(), name)
  const marker = join(folder, 'complete.txt') // written last: without it the install is a half one
  const has = await readFile(marker, 'utf8').catch(() => '')
  if (has === packages.join()) return folder
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  await install(folder)
  await writeFile(marker, packages.join())
  return folder
}
const windows = process.platform === 'win32'
const python = (folder: string) => join(folder, windows ? 'Scripts/python.exe' : 'bin/python')

function program(command: string, args: readonly string[], cwd: string, env: Record<string, string>): Running {
  const { PATH = '', HOME = '', SystemRoot = '' } = process.env
  return startProgram(command, args, cwd, { PATH, HOME, SystemRoot, ...env })
}
const file = (folder: string) => join(folder, 'rows.jsonl')
/** The last line may be a part of one. */
async function lines(folder: string): Promise<Row[]> {
  const text = existsSync(file(folder)) ? await readFile(file(folder), 'utf8') : ''
  return text
    .split('\n')
    .slice(0, -1)
    .filter((line) => line !== '')
    .map((line) => parse(line) as Row)
}

const PEERS: Record<string, Peer> = {
  worker: {
    start: async (folder, { env }) =>
      startWorker(folder, {
        ...env,
        TOPICS_URL: `sqlite:${folder}/topics.db`,
        DATABASE_URL: `sqlite:${folder}/fraud.db`,
      }),
    rows: async (folder) => recorded(join(folder, 'fraud.db')),
  },
  python: {
    async start(folder, { env }) {
      const home = await installed('peer-python', PIP, async (at) => {
        await makeVenv(await basePython('newest'), at)
        await run(python(at), '-m', 'pip', '--disable-pip-version-check', 'install', ...PIP)
      })
      return program(python(home), [join(import.meta.dirname, 'peer.py'), file(folder)], folder, env)
    },
    rows: lines,
  },
  'node-red': {
    async start(folder, { env }) {
      const install = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix']
      const home = await installed('peer-node-red', NPM, (at) => run('npm', ...install, at, ...NPM))
      const flow = join(folder, 'flow.json')
      await writeFile(flow, JSON.stringify(flowOf(env, file(folder))))
      const settings = join(folder, 'settings.cjs')
      const quiet = { uiHost: '127.0.0.1', uiPort: 0, httpAdminRoot: false, httpNodeRoot: false }
      const nodes = { nodesDir: join(home, 'node_modules/node-red-node-email'), telemetry: { enabled: false } }
      await writeFile(settings, `module.exports = ${JSON.stringify({ ...quiet, ...nodes })}`)
      const red = join(home, 'node_modules/node-red/red.js')
      return program(process.execPath, [red, '--userDir', folder, '--settings', settings, flow], folder, {})
    },
    rows: lines,
  },
}

/** The flow as one draws it: call, ask, mail what is fraud, keep the row, call again. */
function flowOf(env: World['env'], kept: string) {
  const smtp = new URL(env.SMTP_URL)
  const http = { type: 'http request', ret: 'obj', persist: true, paytoqs: 'ignore', headers: [] }
  const code = (func: string) => ({ type: 'function', func, outputs: 1, libs: [] })
  const ask = `const { columns, data: [cells] } = JSON.parse(msg.payload)
msg.row = Object.fromEntries(columns.map((column, i) => [column, cells[i]]))
const time = { unix_time: Math.floor(msg.row.current_time / 1000), trans_date_trans_time: new Date(msg.row.current_time).toISOString() }
const { is_fraud, current_time, ...features } = { ...msg.row, ...time }
msg.headers = { 'content-type': 'application/json' }
msg.payload = { dataframe_split: { columns: Object.keys(features), data: [Object.values(features)] } }
return msg`
  const judged = `msg.row.prediction = msg.payload.predictions[0]
msg.payload = JSON.stringify(msg.row)
return msg`
  const letter = `return { topic: 'Fraud', from: '${env.ALERT_FROM}', payload: 'Transaction: ' + msg.row.trans_num + '\\nAmount: ' + msg.row.amt + '\\nMerchant: ' + msg.row.merchant }`
  const isOne = { property: 'row.prediction', propertyType: 'msg', rules: [{ t: 'eq', v: '1', vt: 'num' }], outputs: 1 }
  const mailed = {
    server: smtp.hostname,
    port: smtp.port,
    name: env.ALERT_TO,
    authtype: 'NONE',
    secure: false,
    tls: false,
  }
  const nodes: [id: string, to: string[], node: Record<string, unknown>][] = [
    ['begin', ['call'], { type: 'inject', props: [], once: true, onceDelay: 0.1, repeat: '' }],
    ['call', ['ask'], { ...http, method: 'GET', url: env.PRODUCER_URL }],
    ['ask', ['model'], code(ask)],
    ['model', ['judged'], { ...http, method: 'POST', url: `${env.MODEL_URL}invocations` }],
    ['judged', ['fraud', 'keep'], code(judged)],
    ['fraud', ['letter'], { type: 'switch', ...isOne, checkall: 'true' }],
    ['letter', ['mail'], code(letter)],
    ['mail', [], { type: 'e-mail', ...mailed }],
    [
      'keep',
      ['again'],
      { type: 'file', filename: kept, filenameType: 'str', appendNewline: true, overwriteFile: 'false' },
    ],
    ['again', ['call'], code("return { payload: '' }")],
  ]
  const tab = { id: 'flow', type: 'tab', label: 'fraud', disabled: false }
  return [tab, ...nodes.map(([id, to, node], n) => ({ id, z: 'flow', x: 100 * n, y: 100, wires: [to], ...node }))]
}

/** What became of the rows that were handed out. */
function account(found: readonly Row[], { state: { sent, mails } }: World) {
  const byNumber = Map.groupBy(found, ({ trans_num }) => String(trans_num))
  const wrong = { lost: 0, doubled: found.length - byNumber.size, unmailed: 0, mailedAgain: 0, long: 0, altered: 0 }
  for (let i = 0; i < sent; i++) {
    const wanted: Row = rowOf(i)
    const [row] = byNumber.get(String(wanted.trans_num)) ?? []
    const times = mails.get(i) ?? 0
    const due = isFraud(String(wanted.trans_num), share) ? 1 : 0
    if (!row) wrong.lost++
    if (times < due) wrong.unmailed++
    wrong.mailedAgain += Math.max(0, times - due)
    const isLong = BigInt(String(wanted.cc_num)) > BigInt(Number.MAX_SAFE_INTEGER)
    if (row && isLong) wrong.long++
    if (row && isLong && String(row.cc_num) !== String(wanted.cc_num)) wrong.altered++
  }
  return wrong
}

async function until(what: string, { text }: Running, look: () => boolean | Promise<boolean>) {
  for (const end = Date.now() + 120_000; !(await look()); await sleep(10))
    if (Date.now() > end) throw new Error(`no ${what} in time:\n${text().slice(-4000)}`)
}
/** Resolves when nothing has come for a while, with all rows. */
async function settled(peer: Peer, folder: string, { state }: World): Promise<Row[]> {
  let [rows, mails, since]: [Row[], number, number] = [[], 0, Date.now()]
  for (; Date.now() - since < SETTLED; await sleep(100)) {
    const found = await peer.rows(folder)
    if (found.length !== rows.length || state.mails.size !== mails) since = Date.now()
    ;[rows, mails] = [found, state.mails.size]
  }
  return rows
}

/** Rows a second, with all waiting from the start. */
async function drain(name: string, peer: Peer): Promise<number> {
  await using folder = await tempDir()
  await using world = await openWorld(cost, share, 1)
  await using running = await peer.start(folder.path, world)
  await until('call', running, () => world.state.calls > 0)
  await sleep(1000)
  const began = performance.now()
  world.offer(rows)
  await until('call for the last row', running, () => world.state.sent === rows)
  await until('last row', running, async () => (await peer.rows(folder.path)).length >= rows)
  const rate = (rows / (performance.now() - began)) * 1000
  const { long, altered, ...wrong } = account(await settled(peer, folder.path, world), world)
  report.note('rows a second', name, rate)
  report.note(
    'lost, doubled, unmailed or mailed again, of all rows',
    name,
    Object.values(wrong).reduce((a, b) => a + b),
  )
  report.note('card numbers beyond 2^53 that arrived as others, %', name, (100 * altered) / long)
  return rate
}

/** What is gone after so many kills at moments that chance has chosen, the same for all of them. */
async function killed(name: string, peer: Peer, seed: number) {
  const { uniform } = seeded(seed)
  await using folder = await tempDir()
  await using world = await openWorld(cost, share, 1)
  const { state } = world
  let offering = true
  const offers = (async () => {
    for (; offering; await sleep(10)) if (state.offered - state.sent < 20) world.offer(20)
  })()
  try {
    for (let kill = 0; kill < kills; kill++) {
      await using running = await peer.start(folder.path, world)
      const before = state.sent
      await until('rows', running, () => state.sent >= before + 20)
      await sleep(uniform() * 1000)
    }
    await using running = await peer.start(folder.path, world)
    const before = state.sent
    await until('rows', running, () => state.sent >= before + 20)
    offering = false
    await offers
    await until('the rest', running, () => state.sent === state.offered)
    const { lost, unmailed, doubled, mailedAgain } = account(await settled(peer, folder.path, world), world)
    const figure = (what: string, value: number) => report.note(`${kills} kills: ${what}`, name, value)
    figure('rows handed out and in no record', lost)
    figure('frauds handed out and in no mail', unmailed)
    figure('rows recorded twice', doubled)
    figure('mails sent twice', mailedAgain)
  } finally {
    offering = false
  }
}

const names = given.only.split(',')
const report = openReport(names)
for (let run = 1; run <= runs; run++) {
  const rates: Record<string, number> = {}
  for (const name of names) rates[name] = await drain(name, PEERS[name]!)
  for (const name of names)
    if (rates.worker && name !== 'worker')
      report.note('rows of the worker for each of its rows', name, rates.worker / rates[name]!)
  if (kills > 0) for (const name of names) await killed(name, PEERS[name]!, run)
  console.error(`run ${run}; load ${loadavg().map((load) => load.toFixed(1))}`)
}
console.log(`${rows} rows, ${runs} runs, ${cpus().length} × ${cpus()[0]!.model}\n\n${report.table()}`)
process.exit()
