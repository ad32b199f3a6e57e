import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { afterAll, expect, test } from 'vitest'
import { boards } from '../../src/care/board.ts'
import { watchModel } from '../../src/care/fingerprint.ts'
import { liveMetrics } from '../../src/care/live.ts'
import { NUMERIC_FEATURES } from '../../src/columns.ts'
import { stringify } from '../../src/io/json.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { openTracking } from '../../src/registry/tracking.ts'
import { sqliteReviews } from '../../src/review/sqlite.ts'
import { mlflow } from '../../src/score/mlflow.ts'
import { history } from '../../src/simulate/history.ts'
import { fakeProducer, fakeSmtp, recorded } from '../outside.ts'
import { freePort, httpServer, listeningLog, tempDir, waitFor } from '../rows.ts'
import { MAIN, startWorker } from '../worker.ts'
import { environment, type Release, run } from './environment.ts'
import { serve, track } from './serve.ts'

const MINUTE = 60_000
const NOTICED = 70_000 // ms from the move of an alias to the promotion
const COLUMNS = { 1: NUMERIC_FEATURES, 2: ['unix_time', 'amt', 'city_pop'] } // of register.py
const ROWS = [...history({ rows: 3000, seed: 5 })]

const scratch = await tempDir()
afterAll(() => scratch[Symbol.asyncDispose]())

// Both releases at once: what is waited for is that the worker looks at the registry again.
test.concurrent.each<Release>(['2.14.1', 'newest'])(
  'follows an alias in the registry of MLflow %s there and back, also when MLflow was killed in between',
  async (release) => {
    const env = await environment(release)
    await using stack = new AsyncDisposableStack()
    const folder = scratch.file(release)
    await mkdir(folder)
    const port = await freePort()
    const open = async () => stack.use(await track(env, folder, port))
    const { url, ...registry } = await open()
    await register(url)
    const models = await Promise.all(
      [1, 2].map(async (version) => stack.use(await serve(env, `models:/fraud/${version}`, url))),
    )
    await fingerprints(models.map((model) => model.url))
    await figuresIn(url)
    await setAlias(url, 1)
    const following = await worker('following', { PROMOTE_BY_ALIAS: 'yes' })
    await following.judges(1)

    await setAlias(url, 2)
    await following.notices(/fraud\/2 was promoted/)
    const telling = await worker('telling', {})
    const command =
      /fraud@champion is fraud\/2 in the registry, and fraud\/1 judges: npm run (model -- promote fraud\/2)/
    const [, typed] = await waitFor('the command', () => command.exec(telling.text()))
    await Promise.all([following.judges(2), telling.judges(1)])
    await waitFor('its next look', () => telling.looks() >= 2, NOTICED)

    await registry[Symbol.asyncDispose]() // SIGKILL to all of its processes
    await telling.run(typed!.replace('-- ', '').split(' ')) // nobody asks MLflow for that
    await telling.judges(2)
    await following.notices(/which version fraud@champion is, is not known; all goes on/)
    await following.judges(2)
    await open()
    await setAlias(url, 1)
    await following.notices(/fraud\/1 was promoted/)
    expect(following.text()).toMatch(/the registry at \S+ answers again/)
    await following.judges(1)

    expect(telling.text().match(new RegExp(command, 'g'))).toHaveLength(1)
    expect(await following.stopped()).toEqual(['fraud/1', 'fraud/2', 'fraud/1'])
    expect(await telling.stopped()).toEqual(['fraud/1', 'fraud/2'])

    async function register(url: string) {
      const args = [MAIN, 'simulate', '--rows', '4000', '--seed', '1']
      const csv = `${folder}/history.csv`
      writeFileSync(csv, execFileSync(process.execPath, args, { maxBuffer: 1e9 }))
      await run(env.python, `${import.meta.dirname}/register.py`, url, csv)
    }

    /** The real worker, with rows enough to judge some at any time; what it asks MLflow and the models is seen. */
    async function worker(name: string, more: Record<string, string>) {
      const at = `${folder}/${name}`
      await mkdir(at)
      const [one, two] = [stack.use(await relay(models[0]!.url)), stack.use(await relay(models[1]!.url))]
      const asked = stack.use(await relay(url))
      const source = stack.use(await fakeProducer(ROWS))
      const mail = stack.use(await fakeSmtp())
      const settings = {
        ...{ NODE_ENV: 'production', PRODUCER_URL: source.url.href, PRODUCER_RATE_PER_MIN: '300' },
        ...{ MODEL_URL: one.url.href, MODEL_NAME: 'fraud/1', MODEL_FEATURES: 'auto' },
        ...{ CHALLENGER_URL: two.url.href, CHALLENGER_NAME: 'fraud/2', MLFLOW_TRACKING_URI: asked.url.href },
        ...{ SMTP_URL: mail.url, ALERT_FROM: 'guard@example.com', ALERT_TO: 'analyst@example.com', ...more },
      }
      const { text, ...child } = stack.use(startWorker(at, settings))
      const rows = () => recorded(`${at}/data/fraud.db`)
      return {
        text,
        looks: () => asked.received.filter(({ request }) => request.url!.includes('registered-models/alias')).length,
        /** Rows handed out from now on are judged by that version. */
        async judges(version: number) {
          const { trans_num } = ROWS[source.state.next + 5]!
          const found = await waitFor(`a row of ${name} by fraud/${version}`, () =>
            rows().find((row) => row.trans_num === trans_num),
          )
          expect(found.model).toBe(`fraud/${version}`)
        },
        async notices(what: RegExp) {
          const since = performance.now()
          await waitFor(`${what}`, () => what.test(text()), NOTICED)
          console.log(`${release}: ${what} after ${Math.round((performance.now() - since) / 1000)} s`)
        },
        async run(args: string[]) {
          await using command = startWorker(at, settings, ...args)
          expect({ ...(await command.end), text: command.text() }).toMatchObject({ code: 0 })
        },
        /** Nothing was lost, each row is what the model of its stamp says; the models in their turns. */
        async stopped() {
          source.state.down = true
          const sent = ROWS.slice(0, source.state.next)
          await waitFor('all rows', () => rows().length === sent.length)
          child.kill('SIGTERM')
          expect(await child.end).toEqual({ code: 0, signal: null })
          const found = new Map(rows().map((row) => [row.trans_num, row]))
          const judged = sent.map(({ trans_num }) => found.get(trans_num)!)
          const [first, second] = await Promise.all([ask(1, judged), ask(2, judged)])
          expect(first).not.toEqual(second)
          expect(judged.map(({ prediction }) => Number(prediction))).toEqual(
            judged.map(({ model }, i) => (model === 'fraud/1' ? first : second)[i]),
          )
          for (const [server, version] of [[one, 1] as const, [two, 2] as const])
            expect(new Set(server.received.map(columnsIn))).toEqual(new Set([COLUMNS[version].join()]))
          return judged.map(({ model }) => model).filter((model, i, all) => model !== all[i - 1])
        },
      }
    }
    /** What a version answers when it is asked without the worker between. */
    async function ask(version: 1 | 2, rows: Record<string, unknown>[]): Promise<number[]> {
      const columns = COLUMNS[version]
      const body = stringify({
        dataframe_split: { columns, data: rows.map((row) => columns.map((name) => row[name])) },
      })
      const headers = { 'content-type': 'application/json' }
      const response = await fetch(`${models[version - 1]!.url}/invocations`, { method: 'POST', headers, body })
      return ((await response.json()) as { predictions: number[] }).predictions
    }
    /** The other model behind the same URL, under the same name: said once. */
    async function fingerprints([first, second]: string[]) {
      let serving = first
      await using server = await relay(() => serving!)
      const sent = { url: server.url, headers: {}, features: NUMERIC_FEATURES }
      const model = mlflow({ ...sent, unixTimeUnit: 's', threshold: 0.5 })
      const file = `${folder}/fraud.db`
      const store = stack.adopt(sqliteStore(file), (one) => one.close())
      await store.insert([])
      const reviews = stack.adopt(sqliteReviews(file), (one) => one.close())
      const { log, text } = listeningLog()
      using watching = watchModel({ champion: async () => ({ model, name: 'fraud/1' }), reviews, log })
      for (let n = 0; n < 2; n++) await watching.look()
      expect(text()).toBe('')
      serving = second
      for (let n = 0; n < 2; n++) await watching.look()
      expect(text().match(/another model answers at MODEL_URL than before, and its name is fraud\/1/g)).toHaveLength(1)
    }
  },
  15 * MINUTE,
)

/** What stands at that address, and what it was asked. */
const relay = (to: string | (() => string)) =>
  httpServer(async ({ request: { url, method }, text }, response) => {
    const body = method === 'POST' ? { method, body: text, headers: { 'content-type': 'application/json' } } : {}
    try {
      const answer = await fetch(`${typeof to === 'string' ? to : to()}${url}`, body)
      const said = await answer.text() // cut off where it is killed: nothing of it is passed on
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(said)
    } catch {
      response.destroy()
    }
  })
const columnsIn = ({ text }: { text: string }) => JSON.parse(text).dataframe_split.columns.join()

type Json = { [name: string]: unknown }
const rest = (url: string) => async (path: string, given?: Json, query?: Record<string, string>) => {
  const headers = { 'content-type': 'application/json' }
  const asked = given && { method: 'POST', headers, body: JSON.stringify(given) }
  const answer = await fetch(`${url}/api/2.0/mlflow/${path}?${new URLSearchParams(query)}`, asked)
  const text = await answer.text()
  expect(answer.status, text).toBe(200)
  return JSON.parse(text)
}

/** The figures of a day, and of the next one, as they stand in a run of their own below the run of the training. */
async function figuresIn(url: string) {
  const day = 20_500
  const cell = { model: 'fraud/1', threshold: null, verdict: null, sampled: null, amount: 9 }
  const counted = (day: number) => [
    { ...cell, day, prediction: 0 as const, label: 0 as const, rows: 900 },
    { ...cell, day, prediction: 1 as const, label: 1 as const, rows: 30 },
    { ...cell, day, prediction: 0 as const, label: 1 as const, rows: 10 },
  ]
  const write = liveMetrics(openTracking(new URL(url)))
  for (const one of [day, day, day + 1]) {
    const at = one * 86_400_000
    await write({ at, truth: 'producer', boards: boards(counted(one - 1), { reviewCost: 2 }, at, () => 0.5) })
  }
  const get = rest(url)
  const version = await get('model-versions/get', undefined, { name: 'fraud', version: '1' })
  const given = { experiment_ids: ['0'], filter: 'tags."client_predict.model" = \'fraud/1\'' }
  const { runs } = await get('runs/search', given)
  expect(runs).toHaveLength(1)
  const [{ info, data }] = runs
  expect(info).toMatchObject({ run_name: 'client-predict live', status: 'FINISHED' })
  expect(data.tags).toContainEqual({ key: 'mlflow.parentRunId', value: version.model_version.run_id })
  const asked = { run_id: info.run_id, metric_key: 'live/false_neg_rate' }
  expect((await get('metrics/get-history', undefined, asked)).metrics).toMatchObject([
    { value: 0.25, step: day },
    { value: 0.25, step: day + 1 },
  ])
  const keys = data.metrics.map(({ key }: { key: string }) => key)
  for (const figure of ['false_neg_rate', 'precision', 'flagged_share'])
    expect(keys).toEqual(expect.arrayContaining([`live/${figure}`, `live/${figure}_low`, `live/${figure}_high`]))
}
function setAlias(url: string, version: number) {
  return rest(url)('registered-models/alias', { name: 'fraud', alias: 'champion', version: `${version}` })
}
