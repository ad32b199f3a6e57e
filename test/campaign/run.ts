import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { seeded } from '../../src/simulate/random.ts'
import { type EngineName, openEngine } from '../accept/engines.ts'
import { client, formOf } from '../desk/place.ts'
import { tempDir } from '../rows.ts'
import { startWorker } from '../worker.ts'
import { copyOf, flipped } from './damage.ts'
import { smallDisk } from './disk.ts'
import { openEars } from './ears.ts'
import { alarmsHeld, type Check, openEyes, recordsHeld, unsaid, verdictsHeld } from './oracle.ts'
import { idOf, type Row } from './rows.ts'
import { MOMENTS, openWorld, SYSTEMS } from './world.ts'

const INSIDE = fileURLToPath(new URL('inside.ts', import.meta.url))
const FATES = [
  ...MOMENTS,
  'at any time',
  'at its start',
  'asked to stop',
  'before a commit',
  'after a commit',
  'while commits fail',
] as const
/** ms that a worker lives at most: one that takes over waits until the server has given up the one that was killed */
const LONGEST: Record<EngineName, number> = { sqlite: 8000, postgres: 15_000, kafka: 45_000 }
/** ms without any progress after which it is over */
const PATIENCE = 120_000
const HOUR = 3_600_000
const NOBODY = 'http://127.0.0.1:1/'
const isRoot = process.platform === 'linux' && process.getuid?.() === 0

type Options = {
  engine: EngineName
  seconds: number
  seed: number
  /** s that a life lasts at most */
  life?: number | undefined
  /** s that something is out at most */
  outage: number
  /** rows in a body at most */
  rows: number
  /** ends it early, with its account */
  stop: AbortSignal
}

/** One campaign on one engine. Resolves with what held, and what did not. */
export async function campaign({ engine: name, seconds, seed, life, outage, rows, stop }: Options): Promise<Check[]> {
  const random = seeded(seed)
  const longest = life ? life * 1000 : LONGEST[name]
  await using dir = await tempDir()
  await using beside = await tempDir() // is no disk that breaks
  using disk = name === 'sqlite' && isRoot ? smallDisk(dir.path) : undefined
  await using engine = await openEngine(name, dir.path)
  await using world = await openWorld(random, seed, rows)
  const [ears, eyes] = [openEars(world), openEyes(world)]
  const clock = beside.file('clock')
  writeFileSync(clock, '0')
  const env = { ...world.env, ...engine.env, DISK_RESERVE_MB: '0', CAMPAIGN_CLOCK: clock }
  const count = name === 'sqlite' ? 1 : 2 // a file has one worker, a server has one that takes over
  const met: Record<string, number> = {}
  const meet = (what: string) => {
    met[what] = (met[what] ?? 0) + 1
  }
  const [exits, answered, wrong]: [string[], string[], string[]] = [[], [], []]
  let [began, ends] = [0, 0]
  const fates = FATES.filter((fate) => name !== 'kafka' || !/ commits?\b/.test(fate)) // nobody sees a broker's from inside
  const expected = fates.map((fate) => `killed: ${fate}`)
  /** As long as it was asked to, and on a busy machine until it has met everything, five times as long at most. */
  const going = () => {
    const share = (Date.now() - began) / seconds / 1000
    return !stop.aborted && (share < 1 || (share < 5 && unmet().length > 0))
  }
  const unmet = () => {
    const never = Object.entries(world.counts).flatMap(([what, many]) => (many === 0 ? [what] : []))
    return [...expected.filter((what) => !met[what]), ...never]
  }

  const start = (more: Record<string, string> = {}) =>
    startWorker(dir.path, {
      ...env,
      NODE_OPTIONS: `--import=${INSIDE}`,
      SCORE_BATCH_SIZE: random.pick(['1', '7', '500']),
      RECORD_BATCH_SIZE: random.pick(['1', '20', '500']),
      ALERT_BURST: random.uniform() < 0.05 ? '2' : '1000000', // a minute without a mail has none of its moments
      ...more,
    })
  type Worker = ReturnType<typeof start>
  const workers = new Set<Worker>()
  const isUp = (worker: Worker) => worker.text().includes('status page: ')

  /** What is done to the files while no worker has any of them: between two lives, and when there are no more. */
  const waiting: (() => Promise<void>)[] = []
  const atRest = (work: () => Promise<void>) =>
    new Promise<void>((resolve, reject) => waiting.push(() => work().then(resolve, reject)))
  async function rest() {
    for (const work of waiting.splice(0)) await work()
  }
  /** A worker that starts there says so, and fetches nothing that it could not keep. */
  async function readOnly() {
    disk!.lock()
    const { calls } = world.counts
    await using worker = start()
    await Promise.race([worker.end, sleep(20_000)])
    if (worker.running() || !/read-?only/i.test(lastLine(worker.text())))
      wrong.push(`a disk that takes nothing is not named: ${lastLine(worker.text())}`)
    if (world.counts.calls > calls) wrong.push('rows were fetched that no disk takes')
    eyes.look(worker.text())
    disk!.unlock()
  }
  /** The flips are made in a copy, with a world of its own: the files from before go on. */
  async function flips() {
    const folder = beside.file(`flips-${met['bytes are flipped'] ?? 0}`)
    let [owed, mailed]: [Row[], ReadonlySet<string>] = [[], new Set()]
    await atRest(async () => {
      copyOf(dir.path, folder)
      owed = world.owed()
      mailed = new Set((await ears.listen()).inMails.keys())
    })
    await using own = await openWorld(random, seed)
    own.heal()
    const at = (file: string) => `sqlite:${folder}/${file}.db`
    const settings = {
      ...own.env,
      TOPICS_URL: at('topics'),
      DATABASE_URL: at('fraud'),
      DISK_RESERVE_MB: '0',
      ALERT_BURST: '1000000',
    }
    {
      // Its marks say all that is there. Nothing goes on meanwhile, so that the next one has work.
      await using idle = startWorker(folder, { ...settings, MODEL_URL: NOBODY, SMTP_URL: 'smtp://127.0.0.1:1' })
      for (const born = Date.now(); idle.running() && !isUp(idle) && Date.now() - born < 20_000; ) await sleep(50)
      await sleep(1500)
    }
    const begin = () => startWorker(folder, settings)
    const [what, found] = await flipped({
      folder,
      random,
      sent: world.sent,
      owed,
      mailed,
      start: begin,
      ears: openEars(own),
    })
    meet(what)
    wrong.push(...found)
    rmSync(folder, { recursive: true })
  }

  /** One life after the other, each to its own end. */
  async function lives(first: number) {
    for (let life = first; going(); life++) {
      const fate = fates[life % fates.length]!
      const [, side] = /^(before|after) a commit$/.exec(fate) ?? []
      const fails = fate === 'while commits fail'
      const worker = start({
        ...(side && { CAMPAIGN_DIES: `${side}:${random.integer(1, 200)}` }),
        ...(fails && { CAMPAIGN_FAILS: `${random.integer(8, 20)}:2`, RECORD_BATCH_SIZE: '500' }),
      })
      workers.add(worker)
      const done = new AbortController()
      const { signal } = done
      const alone = worker.end.then(() => 'ended')
      const early = fate === 'at its start'
      for (const born = Date.now(); !early && worker.running() && !isUp(worker) && Date.now() - born < 20_000; )
        await sleep(50)
      const late = sleep(longest, 'late', { signal })
      const soon = () => sleep(early ? random.integer(50, 900) : random.integer(500, longest), 'now', { signal })
      const moment = side || fails ? late : MOMENTS.includes(fate as never) ? happening(fate) : soon()
      const what = await Promise.race([late, alone, moment])
      const asked = Date.now()
      if (worker.running()) worker.kill(fate === 'asked to stop' ? 'SIGTERM' : 'SIGKILL')
      const { code, signal: by } = await worker.end
      done.abort()
      workers.delete(worker)
      ends++
      world.killed()
      eyes.look(worker.text())
      await rest()
      if (fate === 'asked to stop') {
        if (what === 'ended' || code !== 0 || Date.now() - asked > 10_000)
          exits.push(`stopped with ${code ?? by} after ${Date.now() - asked} ms`)
      } else if (by !== 'SIGKILL') exits.push(`ended by itself with ${code ?? by}: ${lastLine(worker.text())}`)
      // It is for what a position that cannot be noted does to rows that were written early.
      const failed = /"stage":"record".*cannot write the topics.*this commit fails/.test(worker.text())
      if (fails ? failed : side ? what === 'ended' : what !== 'late') meet(`killed: ${fate}`)
      async function happening(of: string) {
        for (let passing = random.integer(0, 3); passing >= 0; passing--)
          await once(world.moments, of, { signal }).catch(() => {})
        await sleep(random.pick([0, 0, 1, 3]))
        return 'now'
      }
    }
  }

  /** Something breaks, for a while; then it works again. */
  async function troubles() {
    const all: Record<string, () => Promise<unknown> | unknown> = {
      ...Object.fromEntries(
        SYSTEMS.map((system) => [
          `${system} is out`,
          async () => {
            const mend = world.break(system)
            await sleep(random.integer(300, outage * 1000))
            mend()
          },
        ]),
      ),
      'a storm of frauds': async () => {
        world.storm(random.pick([0.3, 0.8]))
        await sleep(1500)
        world.storm(0.05)
      },
      'the clock jumps': () => {
        const wrong = random.pick([-24 * HOUR, -HOUR, 0, HOUR, 24 * HOUR])
        writeFileSync(clock, `${wrong}`)
        for (const worker of workers) if (isUp(worker)) worker.kill('SIGUSR2')
      },
      'people look': async () => {
        for (const path of ['/', '/readyz', '/metrics', '/desk']) eyes.look((await ask(path)) ?? '')
      },
      ...(disk && {
        'the disk is full': async () => {
          while (!disk.fill()) await sleep(1)
          await sleep(random.integer(500, 3000))
          disk.empty()
        },
      }),
      ...(disk && { 'the disk takes nothing': () => atRest(readOnly) }),
      ...(name === 'sqlite' && { 'bytes are flipped': flips }),
      ...Object.fromEntries(
        Object.entries(engine.outages).map(([what, happen]) => [
          what,
          () => happen(random.integer(300, (outage * 2000) / 3)),
        ]),
      ),
    }
    const names = Object.keys(all)
    expected.push(...names, ...(name === 'sqlite' ? ['flipped bytes: refused by name'] : []))
    for (let turn = 0; going(); turn++) {
      await sleep(random.integer(300, 2500))
      const what = turn < names.length ? names[turn]! : random.pick(names)
      await all[what]!()
      meet(what)
    }
  }

  const url = () => {
    const [worker] = [...workers].filter((one) => one.running())
    return worker && /status page: (http:\S+?)\/?(?=["\s])/.exec(worker.text())?.[1]
  }
  const ask = async (path: string) => {
    const at = url()
    return at
      ? await fetch(`${at}${path}`).then(
          (answer) => answer.text(),
          () => undefined,
        )
      : undefined
  }
  async function verdicts() {
    for (let given = 0; going(); await sleep(200)) {
      const at = url()
      if (!at) continue
      const c = client(at)
      try {
        const ids = [...(await c.get('/desk')).text.matchAll(/name="of" value="([^~"]+)~/g)].map(([, id]) => id)
        if (ids.length === 0) continue
        const path = `/desk/${random.pick(ids)}`
        const note = `verdict ${++given}`
        const fields = formOf((await c.get(path)).text, path)
        const { status } = await c.post(path, { ...fields, verdict: random.pick(['fraud', 'legit', 'unsure']), note })
        if (status === 303) answered.push(note)
      } catch {} // it was not answered
    }
  }
  /** A webhook gets what comes after it was set on: what came before its first post is owed to it by nobody. */
  async function firstStart() {
    world.storm(0.5)
    await using first = start()
    workers.add(first)
    for (const since = Date.now(); world.posts.length === 0 && Date.now() - since < PATIENCE; ) await sleep(200)
    world.storm(0)
    await sleep(500) // what is on its way was asked for before
    world.postsFromNow()
    workers.delete(first)
    first.kill('SIGTERM')
    await first.end
    world.killed()
    eyes.look(first.text())
    world.storm(0.05)
    began = Date.now()
  }
  await firstStart()
  const report = setInterval(() => {
    console.log(
      `  ${ends} ends, ${world.sent.size} rows handed out, ${world.mails().length} mails, ${answered.length} verdicts`,
    )
  }, 30_000).unref()

  let over = false
  const all = Promise.all(Array.from({ length: count }, (_, i) => lives(i * 3)))
  async function rests() {
    for (await all; !over; await sleep(100)) await rest()
  }
  await Promise.all([troubles().finally(() => (over = true)), verdicts(), rests()])
  clearInterval(report)
  world.heal()
  writeFileSync(clock, '0')
  const worker = start({ SCORE_BATCH_SIZE: '500', RECORD_BATCH_SIZE: '500' })
  workers.add(worker)
  for (let moved = Date.now(), seen = ''; worker.running() && Date.now() - moved < PATIENCE; await sleep(500)) {
    const there = new Set(
      (await engine.ask('SELECT trans_num, event_time FROM predictions')).map(
        (one) => `${one.trans_num}@${one.event_time}`,
      ),
    )
    const left = world.owed().filter((one) => !there.has(idOf(one))).length
    const unheard = left === 0 ? (await unsaid(world, ears)).length : -1
    if (left === 0 && unheard === 0) break
    if (seen !== `${left} ${unheard}`) moved = Date.now()
    seen = `${left} ${unheard}`
  }
  await sleep(1500) // for what would be too much
  const audit = await command('audit')
  await command('dead-letters')
  const asked = Date.now()
  worker.kill('SIGTERM')
  const { code } = await worker.end
  eyes.look(worker.text())
  if (code !== 0 || Date.now() - asked > 10_000)
    exits.push(`the last one stopped with ${code} after ${Date.now() - asked} ms`)
  async function command(...args: string[]) {
    await using ran = startWorker(dir.path, env, ...args)
    const ended = await ran.end
    eyes.look(ran.text())
    return { code: ended.code, text: ran.text().trim() }
  }

  for (const { body } of world.posts) eyes.look(body)
  for (const { raw } of world.mails()) eyes.look(raw.toString('latin1'))
  const left = unmet()
  return [
    ...recordsHeld(world, await engine.ask(ROWS)),
    ...(await alarmsHeld(world, ears)),
    ...verdictsHeld(
      answered,
      (await engine.ask("SELECT note FROM reviews WHERE note LIKE 'verdict %'")).map(({ note }) => note),
      await engine.ask(UNLIKE),
    ),
    eyes.held(),
    ['files that were spoilt', wrong.slice(0, 3).join(' · ') || 'were refused, or held', wrong.length === 0],
    ['audit', audit.code === 0 ? 'the account holds' : audit.text, audit.code === 0],
    ['ends that nobody asked for', exits.slice(0, 3).join(' · ') || '0', exits.length === 0],
    ['what it did not meet', left.join(', ') || 'nothing', left.length === 0],
    ['what it met', JSON.stringify({ ends, ...met, ...world.counts }), true],
  ]
}

/** What is compared; a card number has more digits than a JavaScript number. */
const ROWS = `SELECT trans_num, event_time, CAST(cc_num AS TEXT) AS cc_num, amt, is_fraud, city_pop, unix_time, prediction, model
  FROM predictions`

/** The last verdict that is no `withdrawn` one has the columns; `unsure` says that somebody looked. */
const UNLIKE = `SELECT p.trans_num FROM predictions p JOIN reviews r ON r.trans_num = p.trans_num AND r.event_time = p.event_time
  WHERE r.id = (SELECT max(id) FROM reviews l WHERE l.trans_num = p.trans_num AND l.event_time = p.event_time)
  AND (p.reviewed_at IS NULL OR p.reviewed_at <> r.at
    OR coalesce(p.fraud_confirmed, -1) <> CASE r.verdict WHEN 'fraud' THEN 1 WHEN 'legit' THEN 0 ELSE -1 END)`

const lastLine = (text: string) => text.trim().split('\n').at(-1)?.slice(0, 300) ?? ''
