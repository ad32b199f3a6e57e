import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { NUMERIC_FEATURES } from '../../src/columns.ts'
import { stringify } from '../../src/io/json.ts'
import { consultOn } from '../doctor/consult.ts'
import { disposable, fakeProducer, fakeSmtp, recorded } from '../outside.ts'
import { tempDir, waitFor } from '../rows.ts'
import { MAIN, startWorker } from '../worker.ts'
import { type Environment, environment, type Release } from './environment.ts'
import { type Served, serve, train } from './serve.ts'

const MINUTE = 60_000
const FETCHED = 200 // rows the worker is to judge: the last of the history, which the model has not seen
const RELEASES: Release[] = ['2.14.1', 'newest']
const NUMBERS: readonly string[] = [...NUMERIC_FEATURES, 'is_fraud']

const scratch = await tempDir()
const history = scratch.file('history.csv')
let rows: Record<string, unknown>[]

beforeAll(() => {
  const args = [MAIN, 'simulate', '--rows', '20000', '--seed', '1']
  const [header, ...lines] = execFileSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 1e9 })
    .trim()
    .split('\n')
  writeFileSync(history, `${[header, ...lines.slice(0, -FETCHED)].join('\n')}\n`)
  rows = lines.slice(-FETCHED).map((line) => asProduced(header!, line))
  expect(rows.some(({ cc_num }) => (cc_num as bigint) > Number.MAX_SAFE_INTEGER)).toBe(true)
}, MINUTE)
afterAll(() => scratch[Symbol.asyncDispose]())

describe.each(RELEASES)('with a model served by MLflow %s', (release) => {
  const models = scratch.file(release)
  let env: Environment
  // A server takes many times as long to start as a test takes: each model has one, from the first test that asks it on.
  const servers = new Map<string, Promise<Served>>()
  function served(variant: string) {
    const server = servers.get(variant) ?? serve(env, `${models}/${variant}`)
    servers.set(variant, server)
    return server
  }
  beforeAll(async () => {
    env = await environment(release)
    const report = await train(env, history, models)
    console.log(`trained: ${JSON.stringify(report)}`)
    expect(report.recall).toBeGreaterThan(0.5)
  }, 15 * MINUTE)
  afterAll(async () => {
    for (const server of servers.values()) await (await server)[Symbol.asyncDispose]()
  })

  test.each([
    { variant: 'nine', saved: 'with a signature of the nine columns' },
    { variant: 'none', saved: 'without a signature' },
    { variant: 'proba', saved: 'to answer probabilities' },
  ])(
    'records what the model says of every row and mails every fraud, saved $saved',
    async ({ variant }) => {
      const model = await served(variant)
      const said = await ask(model.url)
      const frauds = rows.filter((_, i) => said[i]!.prediction === 1n)
      expect(frauds.length).toBeGreaterThan(0)
      expect(said.every(({ score }) => (variant === 'proba' ? score !== null : score === null))).toBe(true)

      await using world = await start(model.url, 'numeric')
      await waitFor('all rows', () => world.recorded().length >= FETCHED, MINUTE)
      await waitFor('all mails', () => world.mails.length >= frauds.length, MINUTE)
      expect(await world.stop()).toEqual({ code: 0, signal: null })

      const wanted = rows.map(({ trans_num, cc_num }, i) => ({ trans_num, cc_num, model: 'rf', ...said[i] }))
      expect(world.recorded()).toEqual(wanted.map((row) => expect.objectContaining(row)))
      expect(world.mails).toHaveLength(frauds.length)
      for (const { trans_num } of frauds)
        expect(world.mails.filter((mail) => mail.includes(String(trans_num)))).toHaveLength(1)
      expect(world.deadLetters()).toBe(0)
      expect(cardsIn(world.text() + world.mails.join())).toEqual([])
    },
    5 * MINUTE,
  )

  test.each([
    { variant: 'mismatch', features: 'numeric', cause: /missing inputs/i, cure: /log it again/i },
    { variant: 'mismatch', features: 'all', cause: /unseen at fit time/i, cure: /log it again/i },
    { variant: 'none', features: 'all', cause: /unseen at fit time/i, cure: /set MODEL_FEATURES/i },
  ])(
    'waits and says why when the model refuses everything: $variant, asked with $features columns',
    async ({ variant, features, cause, cure }) => {
      const model = await served(variant)
      await using world = await start(model.url, features, { LOG_LEVEL: 'debug' }) // says each try
      const complaints = () =>
        world
          .text()
          .split('\n')
          .filter((line) => cause.test(line))
      await waitFor('two complaints, as it tries again', () => complaints().length >= 2, MINUTE)

      expect(complaints()[0]).toMatch(cure)
      expect(world.running()).toBe(true)
      expect(await world.stop()).toEqual({ code: 0, signal: null })
      expect(world.recorded()).toEqual([])
      expect(world.deadLetters()).toBe(0)
      expect(world.mails).toEqual([])
      expect(cardsIn(world.text())).toEqual([])
    },
    5 * MINUTE,
  )

  test.each([
    { variant: 'nine', features: 'numeric', states: ['ok', 'note'], cure: undefined },
    {
      variant: 'nine',
      features: 'amt,zip',
      states: ['wrong'],
      cure: /^set MODEL_FEATURES=numeric: with that it answers$/,
    },
    { variant: 'none', features: 'all', states: ['wrong'], cure: /^set MODEL_FEATURES=numeric: with that it answers$/ },
    { variant: 'mismatch', features: 'numeric', states: ['wrong'], cure: /^log it again with the signature of/ },
    { variant: 'mismatch', features: 'all', states: ['wrong'], cure: /^log it again with the signature of/ },
  ])(
    'the doctor finds what cures it: $variant, asked with $features columns',
    async ({ variant, features, states, cure }) => {
      const model = await served(variant)
      const { all, text, lines } = await consultOn('model', { MODEL_URL: model.url, MODEL_FEATURES: features })
      expect(all.map(({ state }) => state)).toEqual(states)
      if (cure) expect(all[0]!.cure).toMatch(cure)
      else expect(text).toContain(`MLflow ${env.version}, 120 rows in`)
      expect(lines.join()).not.toMatch(/\d{11,}/)
    },
    5 * MINUTE,
  )
})

/** A line of the history as the payments API would send it; no cell has a line break. */
function asProduced(header: string, line: string): Record<string, unknown> {
  const cells = (text: string) =>
    [...text.matchAll(/("(?:[^"]|"")*"|[^,]*)(?:,|$)/g)].map(([, cell]) =>
      cell!.startsWith('"') ? cell!.slice(1, -1).replaceAll('""', '"') : cell!,
    )
  const names = cells(header)
  const value = (name: string, cell: string) =>
    name === 'cc_num' ? BigInt(cell) : NUMBERS.includes(name) ? Number(cell) : cell
  const {
    unix_time,
    trans_date_trans_time,
    '': _index,
    ...row
  } = Object.fromEntries(cells(line).map((cell, i) => [names[i] ?? '', value(names[i] ?? '', cell)]))
  return { ...row, current_time: Number(unix_time) * 1000 }
}

/** What the model answers when it is asked without the worker between. */
async function ask(url: string): Promise<{ prediction: bigint; score: number | null }[]> {
  const data = rows.map((row) =>
    NUMERIC_FEATURES.map((name) => (name === 'unix_time' ? Number(row.current_time) / 1000 : row[name])),
  )
  const body = stringify({ dataframe_split: { columns: NUMERIC_FEATURES, data } })
  const response = await fetch(`${url}/invocations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  })
  const text = await response.text()
  expect(response.status, text).toBe(200)
  return (JSON.parse(text).predictions as (number | [number, number])[]).map((said) =>
    typeof said === 'number'
      ? { prediction: BigInt(said), score: null }
      : { prediction: said[1] >= 0.5 ? 1n : 0n, score: said[1] },
  )
}

/** The real worker between a producer of our rows, the model and a mail server. */
async function start(model: string, features: string, more: Record<string, string> = {}) {
  await using stack = new AsyncDisposableStack()
  const folder = scratch.file(`worker-${crypto.randomUUID()}`)
  await mkdir(folder)
  const source = stack.use(await fakeProducer(rows))
  const mail = stack.use(await fakeSmtp())
  const worker = stack.use(
    startWorker(folder, {
      NODE_ENV: 'production',
      PRODUCER_URL: source.url.href,
      PRODUCER_RATE_PER_MIN: '600000',
      MODEL_URL: model,
      MODEL_FEATURES: features,
      MODEL_NAME: 'rf',
      SMTP_URL: mail.url,
      ALERT_FROM: 'guard@example.com',
      ALERT_TO: 'analyst@example.com',
      ...more,
    }),
  )
  const all = stack.move()
  return {
    ...worker,
    mails: mail.state.mails,
    recorded: () => recorded(`${folder}/data/fraud.db`),
    deadLetters() {
      using db = disposable(new DatabaseSync(`${folder}/data/topics.db`, { readOnly: true }))
      return db.prepare('SELECT record FROM "dead-letters"').all().length
    },
    stop() {
      worker.kill('SIGTERM')
      return worker.end
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

/** The cards whose whole number can be read in a text. */
const cardsIn = (text: string) => rows.map(({ cc_num }) => String(cc_num)).filter((card) => text.includes(card))
