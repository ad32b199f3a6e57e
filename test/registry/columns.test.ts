import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { signedColumns } from '../../src/registry/columns.ts'
import { openRegistry } from '../../src/registry/registry.ts'
import { openTracking } from '../../src/registry/tracking.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import { someRows } from '../outside.ts'
import { listeningLog, tempDir, waitFor } from '../rows.ts'
import { byAmount, modelServer } from '../score/server.ts'
import { challenged } from '../shadow/world.ts'
import { fakeRegistry, some } from './server.ts'

async function open() {
  const stack = new AsyncDisposableStack()
  onTestFinished(() => stack.disposeAsync())
  const dir = stack.use(await tempDir())
  const topics = stack.adopt(await sqliteTopics({ path: dir.file('topics.db') }), (t) => t.close())
  const server = await fakeRegistry()
  const { log, text } = listeningLog()
  const registry = openRegistry(openTracking(server.url))
  return { server, state: server.state, text, start: () => signedColumns({ registry, topics, log }) }
}

test('the columns are those of the signature, in its order, asked for once', async () => {
  const { server, state, start, text } = await open()
  state.columns['fraud/7'] = [...some('zip', 'amt', 'unix_time'), { name: 'hour', required: false }]
  const columns = start()
  expect(await columns('fraud/7')).toEqual(['zip', 'amt', 'unix_time'])
  expect(await columns('fraud/7')).toBe(await columns('fraud/7'))
  expect(server.asked).toHaveLength(1)
  expect(text()).toContain('the columns of fraud/7 are, by its signature, zip, amt, unix_time')
})

test('a registry that is away changes nothing for a version that was known, and nothing is guessed for another one', async () => {
  const { state, start, text } = await open()
  state.columns['fraud/7'] = some('amt', 'zip')
  await start()('fraud/7')
  state.ill = (_, response) => void response.writeHead(503).end()
  const later = start()
  expect(await later('fraud/7')).toEqual(['amt', 'zip'])
  expect(text()).toMatch(/answered 503 .*: fraud\/7 is sent the columns that it was sent before/)
  await expect(later('fraud/8')).rejects.toThrow(/MLflow answered 503/)
  await expect(later('fraud@champion')).rejects.toThrow('it is not known yet which version fraud@champion is')
  state.ill = undefined
  state.columns['fraud/8'] = some('amt')
  expect(await later('fraud/8')).toEqual(['amt'])
  state.columns['fraud/7'] = some('zip', 'amt') // the registry was made anew
  expect(await start()('fraud/7')).toEqual(['zip', 'amt'])
  expect(text()).toContain('the columns of fraud/7 are, by its signature, zip, amt, and were amt, zip')
})

test.for<[string, 'none' | object[], RegExp]>([
  ['has no signature', 'none', /fraud\/7 was logged without a signature: list in MODEL_FEATURES/],
  ['has no file', [], /has no file MLmodel of fraud\/7: list in MODEL_FEATURES/],
  ['has a tensor', [{ type: 'tensor' }], /the signature of fraud\/7 has no columns with names/],
  ['wants the label', some('amt', 'is_fraud'), /wants is_fraud, which is in no transaction: log it again/],
  ['wants what nobody has', some('amt', 'hour', 'day'), /wants hour, day, which are in no transaction/],
])('a version that %s is said with its cure, however often it is asked', async ([, columns, wanted]) => {
  const { state, start } = await open()
  if (columns === 'none') state.columns['fraud/7'] = undefined
  else if (columns.length > 0) state.columns['fraud/7'] = columns as { name: string }[]
  await expect(start()('fraud/7')).rejects.toThrow(wanted)
  await expect(start()('fraud/7')).rejects.toThrow(wanted)
})

test('the worker sends each model what its own signature wants, and waits while nobody says it', async () => {
  const registry = await fakeRegistry({ rf: { versions: ['7', '8'], aliases: { champion: '7' } } })
  registry.state.columns = { 'rf/7': some('zip', 'amt'), 'rf/8': some('amt', 'lat') }
  registry.state.ill = (_, response) => void response.writeHead(503).end()
  const model = await modelServer(byAmount)
  onTestFinished(() => model[Symbol.asyncDispose]())
  const world = await challenged({
    ...{ MODEL_FEATURES: 'auto', MLFLOW_TRACKING_URI: registry.url.href, MODEL_URL: model.url.href },
  })
  await world.start()
  await sleep(500) // the challenger begins where the topic ends now
  world.send(someRows(20))
  await waitFor('why it waits', () => /MLflow answered 503 to MLmodel/.test(world.text()))
  expect(world.recorded()).toHaveLength(0)
  registry.state.ill = undefined
  await waitFor('every row', () => world.recorded().length === 20)
  expect(world.letters()).toBe(0)
  expect(new Set(model.asked.flat().map((row) => Object.keys(row).join()))).toEqual(new Set(['zip,amt']))
  await waitFor('the challenger', () => world.asked.flat().length > 0)
  expect(new Set(world.asked.flat().map((row) => Object.keys(row).join()))).toEqual(new Set(['amt,lat']))
})
