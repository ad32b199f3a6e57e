import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, describe, expect, type TestContext, test } from 'vitest'
import { postgresTopics } from '../src/engines/postgres/topics.ts'
import { isFraud, outside, someRows } from './outside.ts'
import { look, type Server, startPostgres } from './postgres.ts'
import { startProxy } from './proxy.ts'
import { httpServer, row, tempDir, transaction, waitFor } from './rows.ts'
import { startWorker } from './worker.ts'

// Workers that share everything: the topics and the predictions in one PostgreSQL database.

const startServer = () => startPostgres({ settings: { fsync: 'off' } }) // nothing here takes the power from the machine
const server = await startServer()
afterAll(() => server[Symbol.asyncDispose]())
const STAGES = ['fetch', 'score', 'alert', 'record']
const PER_SECOND = 30

/** A database, the systems outside, and workers that are led to them. Ended at the end of the block. */
async function place({ onTestFailed }: TestContext, rows = someRows(3000), own: Server = server) {
  const stack = new AsyncDisposableStack()
  const dir = stack.use(await tempDir())
  const world = stack.use(await outside(rows, dir.path))
  const url = await own.database()
  const env = {
    ...world.env,
    TOPICS_URL: url.href,
    DATABASE_URL: url.href,
    PRODUCER_RATE_PER_MIN: String(PER_SECOND * 60),
    LOG_LEVEL: 'debug',
  }
  const recorded = async () => {
    const found = await look(url, 'SELECT trans_num, prediction FROM predictions ORDER BY event_time').catch(() => [])
    return found.map(({ trans_num }) => trans_num)
  }
  return {
    ...world,
    folder: dir.path,
    url,
    env,
    recorded,
    /** A worker whose log is shown when the test fails. */
    work(settings: Record<string, string> = {}, ...args: string[]) {
      const worker = stack.use(startWorker(dir.path, { ...env, ...settings }, ...args))
      onTestFailed(() => console.log(shortened(worker.text())))
      return worker
    },
    /** Resolves when so many more rows were recorded. */
    async progress(count = 20) {
      const before = (await recorded()).length
      await waitFor('progress', async () => (await recorded()).length >= before + count, 60_000)
    },
    /** Ends the producer; resolves when all that it handed out is done: recorded once, and mailed once if it is a fraud. */
    async done(excused: ReadonlySet<unknown> = new Set()) {
      world.producer.down = true
      await sleep(500) // what is on its way
      const owed = rows.slice(0, world.producer.next).filter(({ trans_num }) => !excused.has(trans_num))
      const frauds = owed.filter(isFraud)
      await waitFor('all rows', async () => new Set(await recorded()).isSupersetOf(names(owed)), 60_000)
      await waitFor('all mails', () => frauds.every((r) => world.mailed(r.trans_num) > 0), 60_000)
      const found = await recorded()
      expect(found.length).toBe(new Set(found).size)
      expect(rows.slice(world.producer.next).filter(({ trans_num }) => found.includes(trans_num))).toEqual([])
      return { mailedTwice: frauds.filter((r) => world.mailed(r.trans_num) > 1).length }
    },
    /** The one that the producer handed out last: it may have been on its way when its worker was killed. */
    last: () => rows[world.producer.next - 1]?.trans_num,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}
const names = (rows: Record<string, unknown>[]) => new Set(rows.map(({ trans_num }) => trans_num))
type Worker = ReturnType<Awaited<ReturnType<typeof place>>['work']>
const lines = (worker: Worker) =>
  worker
    .text()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as { level: string; msg: string; time: string; stage?: string })
const messages = (worker: Worker) => lines(worker).map(({ msg }) => msg)
/** What it has done: these lines are of the stages at work. */
const works = (worker: Worker) =>
  messages(worker).some((msg) => /^(fetched|scored|recorded|sent|.*Fraud alert)/.test(msg))
const said = (worker: Worker, msg: (stage: string) => string) =>
  waitFor(msg('…'), () => STAGES.every((name) => worker.text().includes(`"msg":"${msg(name)}"`)), 30_000)
const standsBy = (worker: Worker) => said(worker, (name) => `another process has its turn as ${name}; standing by`)
const hasItsTurns = (worker: Worker) => said(worker, (name) => `it is this process's turn as ${name}`)
/** As its status page says. */
async function states(worker: Worker) {
  const [, url] = /status page: (http:\S+)\//.exec(worker.text())!
  const { stages } = (await (await fetch(`${url}/readyz`)).json()) as { stages: { stage: string; state: string }[] }
  return stages.map(({ stage, state }) => `${stage}: ${state}`)
}
async function ready(worker: Worker) {
  const [, url] = /status page: (http:\S+)\//.exec(worker.text())!
  return (await fetch(`${url}/readyz`)).status
}
const all = (state: string) => STAGES.map((name) => `${name}: ${state}`)
const shortened = (text: string) => {
  const kept = text.split('\n').filter((line) => !/"msg":"(scored|fetched|recorded|sent) /.test(line))
  return [...kept.slice(0, 40), ...(kept.length > 80 ? ['…'] : []), ...kept.slice(40).slice(-40)].join('\n')
}
async function stops(worker: Worker) {
  const asked = performance.now()
  worker.kill('SIGTERM')
  expect(await worker.end).toEqual({ code: 0, signal: null })
  expect(performance.now() - asked).toBeLessThan(10_000)
}
async function dies(worker: Worker) {
  worker.kill('SIGKILL')
  await worker.end
}

describe.concurrent('two workers with the same settings', () => {
  test('share the work so that one does it and the other stands by; it takes over when the first is stopped', async (context) => {
    await using p = await place(context)
    const first = p.work()
    await p.progress()
    const second = p.work()
    await standsBy(second)
    await p.progress()
    expect(works(second)).toBe(false)
    expect([await states(first), await states(second)]).toEqual([all('working'), all('standing by')])
    await stops(first)
    await hasItsTurns(second)
    expect(await states(second)).toEqual(all('working'))
    await p.progress()
    expect(await p.done()).toEqual({ mailedTwice: 0 })
    expect(messages(second).filter((msg) => msg.includes('turn as'))).toHaveLength(2 * STAGES.length)
    expect(messages(first).filter((msg) => msg.includes('turn as'))).toEqual([])
    await stops(second)
    for (const worker of [first, second]) expect(lines(worker)).toHaveLength(worker.text().trim().split('\n').length)
  })

  test.for([
    ['with a batch in hand', 200],
    ['while its model is down', 503],
  ] as const)('one that is cut off %s stands by: it is ready, and fails at nothing', async ([, status], context) => {
    await using p = await place(context, [])
    await using proxy = await startProxy({ port: Number(p.url.port) })
    const asked = Promise.withResolvers<void>()
    const answer = Promise.withResolvers<void>()
    await using model = await httpServer(async (_, response) => {
      asked.resolve()
      if (status === 200) await answer.promise
      response.writeHead(status, { 'content-type': 'application/json' }).end('{"predictions":[0]}')
    })
    const first = p.work({ STAGES: 'score', TOPICS_URL: proxy.through(p.url).href, MODEL_URL: model.url.href })
    const topics = await postgresTopics({ url: p.url, log: pino({ level: 'silent' }) })
    await waitFor('its topics', () => topics.append({ transactions: [transaction(1)] }).then(() => true))
    await asked.promise
    if (status === 503) await waitFor('the failure', async () => (await states(first)).includes('score: failing'))
    const second = p.work({ STAGES: 'score' })
    await waitFor('it to stand by', () => messages(second).some((msg) => msg.endsWith('standing by')))
    proxy.cut()
    await waitFor('the second to take over', () => messages(second).some((msg) => /^scored/.test(msg)), 60_000)
    proxy.mend()
    answer.resolve()
    await waitFor('it to stand by', async () => (await states(first)).includes('score: standing by'), 60_000)
    await topics.append({ transactions: [transaction(2)] })
    await waitFor('the second', () => messages(second).filter((msg) => /^scored/.test(msg)).length === 2)
    await sleep(2000)
    expect([await states(first), await states(second)]).toEqual([
      expect.arrayContaining(['score: standing by']),
      expect.arrayContaining(['score: working']),
    ])
    expect([await ready(first), await ready(second)]).toEqual([200, 200])
    await stops(second)
    await waitFor('its turn', async () => (await states(first)).includes('score: working'), 60_000)
    await topics.close()
    await stops(first)
  })

  test('lose and double nothing when the one at work is killed, three times in turn', async (context) => {
    await using p = await place(context)
    let atWork = p.work()
    await p.progress()
    const excused = new Set<unknown>()
    for (let kills = 0; kills < 3; kills++) {
      const next = p.work()
      await standsBy(next)
      await p.progress(10)
      await dies(atWork)
      const died = performance.now()
      excused.add(p.last())
      await hasItsTurns(next)
      expect(performance.now() - died).toBeLessThan(10_000)
      atWork = next
    }
    await p.progress()
    expect((await p.done(excused)).mailedTwice).toBeLessThanOrEqual(3) // cut off between the dot and our note
    await stops(atWork)
  })

  test('lose and double nothing when the server stops and starts, or loses its power; the one at work stays it', async (context) => {
    await using own = await startServer()
    await using p = await place(context, undefined, own)
    const first = p.work()
    await p.progress()
    const second = p.work()
    await standsBy(second)
    for (const happens of [own.stop, own.kill]) {
      await happens()
      await sleep(500)
      await own.start()
      await p.progress()
    }
    expect(await p.done()).toEqual({ mailedTwice: 0 })
    expect(works(second)).toBe(false)
    await Promise.all([stops(first), stops(second)])
  })

  test('may divide the stages among them', async (context) => {
    await using p = await place(context)
    const workers = [p.work({ STAGES: 'fetch,alert' }), p.work({ STAGES: 'score,record' })]
    await p.progress()
    expect(await p.done()).toEqual({ mailedTwice: 0 })
    for (const worker of workers) expect(messages(worker).filter((msg) => msg.includes('turn as'))).toEqual([])
    const here = await Promise.all(workers.map(states))
    expect(here.map((stages) => stages.filter((line) => line.endsWith('elsewhere')))).toEqual([
      ['score: elsewhere', 'record: elsewhere'],
      ['fetch: elsewhere', 'alert: elsewhere'],
    ])
    await Promise.all(workers.map(stops))
  })
})

describe.concurrent('a worker', () => {
  test('that starts before its server tries again, says so once, and goes to work when it comes', async (context) => {
    await using own = await startServer()
    await using p = await place(context, someRows(10), own)
    await own.stop()
    const worker = p.work()
    const failures = () => lines(worker).filter(({ msg }) => msg.includes('; retrying in '))
    await waitFor('five tries', () => failures().length >= 5, 20_000)
    const tries = failures()
    expect(tries.filter(({ level }) => level === 'warn')).toHaveLength(1)
    const { host, pathname } = p.url
    for (const { msg } of tries)
      expect(msg).toMatch(
        new RegExp(
          `^cannot open TOPICS_URL: cannot reach PostgreSQL at ${host}${pathname}: connect ECONNREFUSED ${host}; retrying in \\d+\\.\\d s$`,
        ),
      )
    const pauses = tries.map(({ msg }) => Number(/in ([\d.]+) s/.exec(msg)![1]))
    expect(pauses.at(-1)).toBeGreaterThan(pauses[0]! * 4)
    expect(lines(worker)).toHaveLength(3 + tries.length) // what it is and works with, and where its status page is
    await own.start()
    await waitFor('its work', async () => (await p.recorded()).length === 10, 30_000)
    expect(messages(worker)).toContainEqual(expect.stringMatching(/^works again after \d failed attempts in [\d.]+ s$/))
    await stops(worker)
  })

  test.for(['is down', 'stands still'])(
    'whose server %s ends with exit 0 within 10 s of SIGTERM',
    async (how, context) => {
      await using own = await startServer()
      await using p = await place(context, undefined, own)
      const worker = p.work()
      await p.progress()
      if (how === 'is down') await own.stop()
      else own.freeze()
      await sleep(1500)
      await stops(worker)
    },
  )

  test('that has no server ends with exit 1 and says why, as once', async (context) => {
    await using p = await place(context, [])
    const TOPICS_URL = 'postgres://worker:secret@127.0.0.1:1/nobody_listens'
    const worker = p.work({ TOPICS_URL, ONCE_SECONDS: '2' }, 'once')
    expect((await worker.end).code).toBe(1)
    expect(worker.text()).toContain('ECONNREFUSED')
    expect(lines(worker).at(-1)).toMatchObject({ level: 'fatal', msg: expect.stringContaining('topics could') })
  })
})

describe.concurrent('a worker that may not in', () => {
  test.for<[string, (url: URL) => URL, RegExp]>([
    [
      'for its password',
      (url) => Object.assign(url, { password: 'wr%23ng%2Fsecret' }),
      /^cannot open TOPICS_URL: cannot reach PostgreSQL at 127\.0\.0\.1:\d+\/test_\d+: password authentication failed for user "worker"; retrying/,
    ],
    [
      'as there is no such database',
      (url) => Object.assign(url, { pathname: '/nowhere' }),
      /^cannot open TOPICS_URL: cannot reach PostgreSQL at 127\.0\.0\.1:\d+\/nowhere: database "nowhere" does not exist; retrying/,
    ],
  ])('%s says so, at a growing pause, without the password', async ([, spoil, said], context) => {
    await using p = await place(context, [])
    const url = spoil(new URL(p.url))
    const worker = p.work({ TOPICS_URL: url.href })
    await waitFor('three lines', () => lines(worker).filter(({ msg }) => said.test(msg)).length >= 3)
    await sleep(2000)
    expect(lines(worker).length).toBeLessThan(10)
    for (const secret of [url.password, decodeURIComponent(url.password)]) expect(worker.text()).not.toContain(secret)
    await stops(worker)
    const command = p.work({ TOPICS_URL: url.href }, 'dead-letters')
    expect((await command.end).code).toBe(1)
    expect(command.text().trim()).toMatch(new RegExp(said.source.replace('; retrying', '$')))
  })
})

const ONCE = { ONCE_SECONDS: '4', PRODUCER_RATE_PER_MIN: '600000' }
/** A busy machine fetches fewer in the time. */
function fetchedOf10({ producer }: { producer: { next: number } }) {
  expect(producer.next).toBeGreaterThan(0)
  return Math.min(producer.next, 10)
}
test.concurrent('once drains everything and ends with exit 0', async (context) => {
  await using p = await place(context, someRows(10))
  const worker = p.work(ONCE, 'once')
  expect((await worker.end).code).toBe(0)
  const fetched = fetchedOf10(p)
  expect(await p.recorded()).toHaveLength(fetched)
  expect(p.smtp.mails).toHaveLength(Math.ceil(fetched / 5))
})

test.concurrent('on a dyno DATABASE_URL alone serves topics and rows, with TLS as the add-on has it', async (context) => {
  await using own = await startPostgres({ tls: true, settings: { fsync: 'off' } })
  await using p = await place(context, someRows(10), own)
  const { TOPICS_URL: _, ...env } = p.env
  await using worker = startWorker(p.folder, { ...env, DYNO: 'scheduler.1', ...ONCE }, 'once')
  expect((await worker.end).code).toBe(0)
  const fetched = fetchedOf10(p)
  expect(await p.recorded()).toHaveLength(fetched)
  expect(await look(p.url, 'SELECT count(*) AS n FROM topics.transactions')).toEqual([{ n: BigInt(fetched) }])
})

test.concurrent('dead letters are listed and put back beside the worker, which goes on with them', async (context) => {
  await using p = await place(context, [row(0), row(1, { amt: 'much' })])
  const worker = p.work()
  await waitFor('a dead letter', () => worker.text().includes('set aside in dead-letters'))
  const topics = await postgresTopics({ url: p.url, log: pino({ level: 'silent' }) })
  const letter = { stage: 'score', at: Date.now(), reason: 'the model refused it', record: transaction(2) } as const
  await topics.append({ 'dead-letters': [letter] })
  await topics.close()
  const list = p.work({}, 'dead-letters')
  expect((await list.end).code).toBe(0)
  expect(list.text()).toMatch(/^1 .*fetch {2}amt must be a finite number/m)
  expect(list.text()).toMatch(/^2 .*score {2}the model refused it/m)
  expect(list.text()).not.toContain(String(row(1).cc_num))
  const retry = p.work({}, 'dead-letters', 'retry')
  expect((await retry.end).code).toBe(1)
  expect(retry.text()).toMatch(/^1 +stays: amt must be a finite number$/m)
  expect(retry.text()).toMatch(/^2 +put back$/m)
  await waitFor('the row', async () => (await p.recorded()).includes('trans-2'))
  expect(await p.recorded()).toEqual(['trans-0', 'trans-2'])
  await stops(worker)
})
