import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { isFraud } from '../outside.ts'
import { tempDir } from '../rows.ts'
import { startWorker } from '../worker.ts'
import { ENGINES, type EngineName, openEngine } from './engines.ts'
import { openWorld, plan } from './world.ts'

// Starts the real worker, breaks what is around it, kills it, and accounts for every transaction:
// npm run accept -- [sqlite|postgres|kafka] [--rows N] [--faults] [--kills N]

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string', default: '1000' },
    kills: { type: 'string', default: '0' },
    faults: { type: 'boolean', default: false },
  },
})
const engineName = (positionals[0] ?? 'sqlite') as EngineName
const [count, kills] = [Number(values.rows), Number(values.kills)]
if (!ENGINES.includes(engineName) || !(count >= 100) || !(kills >= 0)) {
  console.error(`accept: wants one of ${ENGINES.join(', ')}, 100 rows or more, and a number of kills`)
  process.exit(2)
}
/** ms without any progress after which it is over */
const PATIENCE = 90_000

const rows = plan(count)
await using dir = await tempDir()
await using engine = await openEngine(engineName, dir.path)
await using world = await openWorld(rows, values)
const env = { ...world.env, ...engine.env, LOG_LEVEL: 'debug' }
const began = performance.now()

const printed: string[] = []
const excused = new Set<unknown>()
let worker = startWorker(dir.path, env)
const mailed = () =>
  new Map(
    Map.groupBy(
      world.mails().filter(({ taken }) => taken),
      ({ of }) => of,
    ),
  )

async function breakThings() {
  if (!values.faults) return
  const { state } = world
  await sleep(2000)
  state.modelDown = true
  await sleep(2000)
  state.modelDown = false
  state.mailDown = true
  await sleep(2000)
  state.mailDown = false
  await engine.break?.()
}
const broken = breakThings()
for (let killed = 0; killed < kills; killed++) {
  await sleep(1000 + Math.random() * 2500)
  worker.kill('SIGKILL')
  await worker.end
  await sleep(100) // a call that it made may still be in the socket
  excused.add(world.excuse())
  printed.push(worker.text())
  worker = startWorker(dir.path, env)
}
await broken
for (
  let moved = performance.now(), seen = '';
  worker.running() && performance.now() - moved < PATIENCE;
  await sleep(300)
) {
  const there = new Set((await engine.rows()).map(({ trans_num }) => trans_num))
  const left = world.owed().filter(({ trans_num }) => !there.has(trans_num)).length
  const unmailed = world.frauds().filter(({ trans_num }) => !mailed().has(String(trans_num))).length
  if (world.drained() && left + unmailed === 0) break
  const now = `${world.state.next} ${there.size} ${unmailed}`
  if (now !== seen) moved = performance.now()
  seen = now
}
await sleep(1000) // for what would be too much
const diedByItself = !worker.running()
const asked = performance.now()
worker.kill('SIGTERM')
const end = await Promise.race([worker.end, sleep(20_000, undefined, { ref: false })])
const stopped = performance.now() - asked
worker.kill('SIGKILL')
await worker.end
printed.push(worker.text())

async function command(...args: string[]) {
  await using ran = startWorker(dir.path, env, ...args)
  const { code } = await ran.end
  printed.push(ran.text())
  return { code, text: ran.text() }
}
const audit = await command('audit')
const letters = await command('dead-letters')

const recorded = await engine.rows()
const byName = new Map(recorded.map((one) => [one.trans_num, one]))
const owed = world.owed()
const isWrong = (sent: Record<string, unknown>) => {
  const found = byName.get(sent.trans_num)
  const says = (column: string) => String(found?.[column])
  const same = ['cc_num', 'is_fraud', 'city_pop'].every((column) => says(column) === String(sent[column]))
  const time =
    Number(found?.event_time) === sent.current_time &&
    says('unix_time') === String(Math.floor(Number(sent.current_time) / 1000))
  return (
    found && !(same && time && Number(found.amt) === sent.amt && says('prediction') === String(isFraud(sent) ? 1 : 0))
  )
}
const foreign = recorded.filter(({ trans_num }) => {
  const [sent] = [...owed, ...excused].filter(
    (one) => (one as Record<string, unknown> | undefined)?.trans_num === trans_num,
  )
  return !sent
})
const copies = [...mailed().values()]
const taken = new Map([...Map.groupBy(world.mails(), ({ of }) => of)])
const changed = [...taken.values()].filter(([first, ...more]) => more.some(({ raw }) => !raw.equals(first!.raw)))
const honest = [...taken.keys()].filter((of) => !isFraud(rows.find(({ trans_num }) => trans_num === of) ?? {}))
const frauds = world.frauds()
const unmailed = frauds.filter(({ trans_num }) => !mailed().has(String(trans_num)))
const outputs = [...printed, ...world.mails().map(({ raw }) => raw.toString('latin1'))].join('\n')
const leaked = [...world.cards].filter((card) => outputs.includes(card))
const aside = letters.text.split('\n').filter((line) => /^\S+ +\d{4}-\d\d-\d\d /.test(line)).length

const checks: [what: string, figure: string, holds: boolean][] = [
  [
    'owed rows that are not recorded',
    `${owed.filter(({ trans_num }) => !byName.has(trans_num)).length} of ${owed.length}`,
    owed.length > 0 && owed.every(({ trans_num }) => byName.has(trans_num)),
  ],
  [
    'rows that nobody sent, or twice',
    `${foreign.length}, ${recorded.length - byName.size}`,
    foreign.length === 0 && recorded.length === byName.size,
  ],
  ['rows with a wrong value', `${owed.filter(isWrong).length}`, !owed.some(isWrong)],
  ['card numbers that the model saw altered', `${world.asked.altered.size}`, world.asked.altered.size === 0],
  ['rows sent to the model with their label', `${world.asked.labels}`, world.asked.labels === 0],
  ['frauds without a mail', `${unmailed.length} of ${frauds.length}`, frauds.length > 0 && unmailed.length === 0],
  [
    'frauds mailed again',
    `${copies.filter(({ length }) => length > 1).length}, by ${kills} kills`,
    copies.filter(({ length }) => length > 1).length <= kills,
  ],
  ['repeats that are not the same mail', `${changed.length}`, changed.length === 0],
  ['honest transactions mailed', `${honest.length}`, honest.length === 0],
  [
    'set aside',
    `${aside} of ${world.aside().length}`,
    aside >= world.aside().length && aside <= world.aside().length + kills,
  ],
  ['full card numbers in logs and mails', `${leaked.length}`, leaked.length === 0],
  ['audit', audit.text.trim().split('\n').at(-1) ?? '', audit.code === 0],
  ['ended before it was asked to', `${diedByItself}`, !diedByItself],
  [
    'exit on SIGTERM',
    end ? `${end.code} after ${Math.round(stopped)} ms` : 'none in 20 s',
    end?.code === 0 && stopped < 10_000,
  ],
]
const { calls, posts } = world.state
console.log(
  `${engineName}: ${count} rows, ${kills} kills${values.faults ? ', faults' : ''}: ${calls} calls, ${posts} posts, ${world.mails().length} mails, ${Math.round((performance.now() - began) / 1000)} s`,
)
for (const [what, figure, holds] of checks) console.log(`${holds ? 'ok  ' : 'FAIL'}  ${what}: ${figure}`)
const failed = checks.filter(([, , holds]) => !holds).length
if (failed > 0) console.log(printed.join('\n').split('\n').slice(-40).join('\n'))
console.log(`accept: ${checks.length - failed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0
