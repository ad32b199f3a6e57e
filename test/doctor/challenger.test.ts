import { expect, test } from 'vitest'
import { NUMERIC_FEATURES } from '../../src/columns.ts'
import { fakeRegistry, some } from '../registry/server.ts'
import { freePort } from '../rows.ts'
import { consultOn } from './consult.ts'
import { type FakeMlflow, fakeMlflow } from './mlflow-server.ts'

const NAMED = { MODEL_URL: 'http://127.0.0.1:1', MODEL_NAME: 'fraud/7', CHALLENGER_NAME: 'fraud/8' }
async function examine(fake: FakeMlflow, settings: Record<string, string> = {}) {
  await using server = await fakeMlflow(fake)
  const more = { CHALLENGER_URL: server.model, CHALLENGER_FEATURES: 'numeric', ...settings }
  return { ...(await consultOn('challenger', { ...NAMED, ...more })), requests: server.requests }
}

test('a challenger that judges is well, and what a day of rows costs it is said', async () => {
  const { all, requests } = await examine({}, { PRODUCER_RATE_PER_MIN: '5' })
  expect(all).toEqual([
    expect.objectContaining({
      state: 'ok',
      text: expect.stringMatching(
        /^127\.0\.0\.1:\d+: 120 rows in [\d.]+ s, an answer for each; a day of 7,200 rows takes it about [\d.]+ s, and is as many rows/,
      ),
    }),
  ])
  expect(requests.map(({ rows }) => rows.length)).toEqual([120, 120])
  expect(requests[0]!.columns).toEqual(NUMERIC_FEATURES)
})

test.for<[string, FakeMlflow, RegExp]>([
  ['answers too few rows', { say: () => ({ text: '{"predictions":[0]}' }) }, /WRONG .*→ /],
  ['was fitted on other columns', { fitted: ['amt', 'zip'] }, /WRONG .* → .*CHALLENGER_FEATURES/],
  ['wants a login', { say: () => ({ status: 401, text: '' }) }, /WRONG .*401.* → check CHALLENGER_HEADERS/],
  ['is a page', { say: () => ({ text: '<!doctype html><title>Hello</title>' }) }, /WRONG .* → .*CHALLENGER_URL/],
  [
    'is another server',
    { say: () => ({ status: 404, type: 'text/html', text: '<title>404</title>' }) },
    /WRONG .* → CHALLENGER_URL is not the base URL/,
  ],
])('one that %s is wrong, with what cures it', async ([, fake, wanted]) => {
  const { lines, all } = await examine(fake)
  expect(all).toHaveLength(1)
  expect(lines[0]).toMatch(wanted)
  expect(lines[0]).not.toMatch(/[^_]MODEL_|\d{11}/)
})

test('one that is not there is wrong', async () => {
  const { lines } = await consultOn('challenger', { ...NAMED, CHALLENGER_URL: `http://127.0.0.1:${await freePort()}` })
  expect(lines[0]).toMatch(/WRONG .*cannot reach .*ECONNREFUSED .*→ nothing listens there.*CHALLENGER_URL/)
})

test('with auto it is asked with the columns of its signature, and the registry is asked for the names', async () => {
  const registry = await fakeRegistry()
  registry.state.columns = { 'fraud/8': some('zip', 'amt') }
  const more = { CHALLENGER_FEATURES: 'auto', MLFLOW_TRACKING_URI: registry.url.href }
  const { all, requests } = await examine({ fitted: ['zip', 'amt'] }, more)
  expect(all.map(({ state }) => state)).toEqual(['ok'])
  expect(requests[0]!.columns).toEqual(['zip', 'amt'])
  const none = await examine({}, { ...more, CHALLENGER_NAME: 'fraud/9' })
  expect(none.lines[0]).toMatch(/WRONG .*has no file MLmodel of fraud\/9 → list in CHALLENGER_FEATURES/)
})

test('the registry is asked for each name: what it does not know, and that it is away, is a note', async () => {
  const registry = await fakeRegistry()
  const on = async (settings: Record<string, string>) =>
    (await consultOn('registry', { MLFLOW_TRACKING_URI: registry.url.href, ...settings })).lines.join('\n')
  expect(await on({ MODEL_NAME: 'fraud/7' })).toMatch(/^ok +registry .* knows MODEL_NAME, fraud\/7$/)
  expect(await on({ MODEL_NAME: 'fraud@champion' })).toMatch(/^ok .* knows MODEL_NAME, fraud@champion, version 7 now$/)
  expect(await on({ MODEL_NAME: 'fraud/9' })).toMatch(
    /^note .* has no version 9 of fraud; it has 8, 7 → MODEL_NAME is fraud\/9/,
  )
  registry.state.ill = (_, response) => void response.writeHead(401).end()
  expect(await on({ MODEL_NAME: 'fraud/7' })).toMatch(
    /^note .*answered 401.* → MLFLOW_TRACKING_URI wants user:password@/,
  )
  registry.state.ill = (request) => void request.socket.destroy()
  expect(await on({ MODEL_NAME: 'fraud/7' })).toMatch(/^note .*cannot reach MLflow.*: nothing but the figures/)
})
