import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { FEATURES } from '../../src/columns.ts'
import { readConfig } from '../../src/config/read.ts'
import { type DoctorOptions, describeCheck, doctor } from '../../src/doctor/doctor.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import type { Topics } from '../../src/topic/topic.ts'
import { outside } from '../outside.ts'
import { freePort, httpServer, LONG_CARD, prediction, row, tempDir } from '../rows.ts'
import { consult } from './consult.ts'
import { fakeMlflow } from './mlflow-server.ts'

test('everything is right: one line each, in the order of the flow', async () => {
  await using dir = await tempDir()
  await using world = await outside([row(1), row(2)], dir.path)
  await using model = await fakeMlflow({ fitted: FEATURES })
  const { checks, failed, lines } = await consult({ ...world.env, MODEL_URL: model.model })
  expect(failed).toBe(false)
  expect(checks.map(({ name }) => name)).toEqual(['producer', 'model', 'model', 'mail', 'topics', 'database', 'disk'])
  expect(lines[0]).toMatch(/^ok {6}producer 127\.0\.0\.1:\d+\/current-transactions answered in/)
  expect(lines[1]).toMatch(/^ok {6}model {4}127/)
  expect(lines[2]).toMatch(/^note {4}model {4}127.* UNIX_TIME_UNIT/)
  expect(lines[3]).toMatch(/^ok {6}mail {5}127/)
  expect(lines[4]).toMatch(/^ok {6}topics {3}/)
  expect(lines[5]).toMatch(/^ok {6}database /)
  expect(lines[6]).toMatch(/^(ok {6}|note {4})disk {5}/)
  expect(world.smtp.mails).toEqual([])
  expect(world.producer.calls).toBe(1)
})

test('nothing is set: what is simulated is noted, and nothing is wrong', async () => {
  const { checks, failed } = await consult()
  expect(failed).toBe(false)
  expect(checks.filter(({ state }) => state === 'note').map(({ text }) => text.split(' ')[0])).toEqual(
    expect.arrayContaining(['PRODUCER_URL', 'MODEL_URL', 'SMTP_URL']),
  )
})

test('rows that are there: how they grow, and whether their disk is full soon', async () => {
  await using dir = await tempDir()
  const DATABASE_URL = `sqlite:${dir.file('fraud.db')}`
  const store = sqliteStore(dir.file('fraud.db'))
  const at = (n: number) => Date.now() - n * 60_000
  await store.insert(Array.from({ length: 2880 }, (_, n) => prediction(n, { event_time: at(n), predicted_at: at(n) })))
  await store.close()
  const { of } = await consult({ STAGES: 'record', DATABASE_URL, DISK_RESERVE_MB: '0' })
  expect(of('growth')).toEqual([
    {
      name: 'growth',
      state: 'ok',
      text: expect.stringMatching(/^2,880 rows, 1\.\d MB; 1,44\d a day \(0\.\d MB\); .* free; /),
    },
  ])
  const full = await consult({ STAGES: 'record', DATABASE_URL, DISK_RESERVE_MB: '100000000' })
  expect(full.of('growth')).toMatchObject([
    {
      state: 'note',
      text: expect.stringContaining('the disk is full about 20'),
      cure: expect.stringContaining('make room'),
    },
  ])
})

test('everything is wrong: nothing stops the rest', async () => {
  await using dir = await tempDir()
  await using world = await outside([], dir.path)
  const nowhere = `127.0.0.1:${await freePort()}`
  const { checks } = await consult({
    ...world.env,
    PRODUCER_URL: `http://${nowhere}/x`,
    MODEL_URL: `http://${nowhere}`,
    SMTP_URL: `smtp://${nowhere}`,
    TOPICS_URL: `postgres://${nowhere}/db`,
    DATABASE_URL: `postgres://${nowhere}/db`,
  })
  expect(checks.map(({ name, state }) => `${name} ${state}`)).toEqual([
    'producer skipped', // what it sends could not be kept
    ...['model', 'mail', 'topics', 'database'].map((name) => `${name} wrong`),
  ])
  for (const { cure } of checks.slice(1))
    expect(cure).toMatch(/^nothing listens there: is it up\? Check host and port in [A-Z]+_URL$/)
})

test.for([
  ['fetch', ['producer', 'topics', 'disk']],
  ['score', ['model', 'topics', 'disk']],
  ['alert', ['mail', 'topics', 'disk', 'disk']],
  ['record', ['topics', 'database', 'disk']],
] as const)('looks only at what its stages need: %s', async ([STAGES, names]) => {
  const { checks } = await consult({ STAGES })
  expect(checks.map(({ name }) => name)).toEqual(names)
})

test('tells what hangs after its deadline, and the others at once', async () => {
  await using silent = await httpServer(() => {})
  const { of } = await consult({ STAGES: 'fetch', PRODUCER_URL: silent.url.href }, { within: 300 })
  expect(of('producer')).toEqual([
    {
      name: 'producer',
      state: 'wrong',
      text: 'it is not known how it is after 0.3 s',
      cure: 'is it up, does it answer at all?',
    },
  ])
  expect(of('topics')[0]!.state).toBe('ok')
})

test('topics that never open hold nothing up, and are closed if they open after all', async () => {
  let closed = 0
  const late = sleep(3000).then(() => ({ close: async () => void closed++ }) as Partial<Topics> as Topics)
  const { of } = await consult({ STAGES: 'fetch' }, { within: 2000, openTopics: () => late })
  expect(of('topics')[0]).toMatchObject({ state: 'wrong', text: 'it is not known how it is after 2.0 s' })
  expect(of('disk')[0]!.state).not.toBe('wrong')
  expect(closed).toBe(1)
})

test('says what it waits for when it takes long', async () => {
  await using silent = await httpServer(() => {})
  const said: string[] = []
  await consult(
    { STAGES: 'fetch', PRODUCER_URL: silent.url.href },
    { within: 5400, waiting: (text) => said.push(text) },
  )
  expect(said).toEqual(['waiting for producer, 5.4 s at most'])
}, 15_000)

test('whoever has seen enough may stop: all is closed', async () => {
  await using dir = await tempDir()
  await using silent = await httpServer(() => {})
  const config = readConfig({
    PRODUCER_URL: silent.url.href,
    TOPICS_URL: `sqlite:${dir.file('t.db')}`,
    STAGES: 'fetch',
  })
  const close = vi.fn(async () => {})
  const options: DoctorOptions = {
    config,
    env: {},
    openTopics: async () => ({ close }) as Partial<Topics> as Topics,
    openReviews: async () => Promise.reject(new Error('not there')),
    openStore: () => {
      throw new Error('not asked for')
    },
    offline: true,
    send: false,
  }
  for await (const { name } of doctor(options)) {
    expect(name).toBe('producer')
    break
  }
  expect(close).toHaveBeenCalledOnce()
})

test('shows no card number, wherever it comes from', async () => {
  await using server = await httpServer((_received, response) =>
    response.writeHead(500, { 'content-type': 'text/html' }).end(`<html><title>card ${LONG_CARD}</title>`),
  )
  const { text } = await consult({ STAGES: 'fetch', PRODUCER_URL: server.url.href })
  expect(text).toMatch(/an HTML page "card …4184"/)
})

test('a line for a person', () => {
  const check = { name: 'model', state: 'wrong', text: 'refuses\n  everything', cure: 'set\tMODEL_FEATURES' } as const
  expect(describeCheck(check, false)).toBe('WRONG   model    refuses everything → set MODEL_FEATURES')
  expect(describeCheck(check, true)).toBe('\u001b[31mWRONG  \u001b[0m model    refuses everything → set MODEL_FEATURES')
  expect(describeCheck({ name: 'topics', state: 'ok', text: 'well' }, true)).toBe(
    '\u001b[32mok     \u001b[0m topics   well',
  )
})
