import { expect, onTestFinished, test } from 'vitest'
import { openRegistry } from '../../src/registry/registry.ts'
import { openTracking } from '../../src/registry/tracking.ts'
import { type WatchOptions, watchRegistry } from '../../src/registry/watch.ts'
import { type Names, openChampion } from '../../src/shadow/champion.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import { listeningLog, tempDir } from '../rows.ts'
import { fakeRegistry, type Registered } from './server.ts'

const BOTH = { model: 'fraud/7', challenger: 'fraud/8' }
async function open(names: Names = BOTH, models?: Registered) {
  const stack = new AsyncDisposableStack()
  onTestFinished(() => stack.disposeAsync())
  const dir = stack.use(await tempDir())
  const server = await fakeRegistry(models)
  /** A process beside the others, with the same topics and the same registry. */
  async function process(options: Partial<WatchOptions> = {}, within = 10_000) {
    const topics = stack.adopt(await sqliteTopics({ path: dir.file('topics.db') }), (t) => t.close())
    const champion = openChampion(topics, names)
    const { log, text } = listeningLog()
    const registry = openRegistry(openTracking(server.url, { within }))
    const watch = stack.use(watchRegistry({ registry, names, champion, topics, log, promote: true, ...options }))
    const judges = async () => (await champion.both()).champion
    return { ...watch, champion, text, judges }
  }
  const { state } = server
  return {
    process,
    server,
    state,
    alias: (version: string) => Object.assign(state.models.fraud!.aliases, { champion: version }),
  }
}

test('an alias that moves to the challenger promotes it, and back again; what a person does in between stays', async () => {
  const { process, alias } = await open()
  const one = await process()
  await one.look()
  expect([await one.judges(), one.text()]).toEqual(['fraud/7', ''])
  alias('8')
  await one.look()
  expect(await one.judges()).toBe('fraud/8')
  expect(one.text()).toContain('fraud@champion has moved: fraud/8 was promoted and judges from now on')
  expect((await one.champion.history())[0]).toMatchObject({ champion: 'fraud/8', by: 'the alias fraud@champion' })
  await one.champion.rollback('anna')
  for (let n = 0; n < 3; n++) await one.look()
  expect(await one.judges()).toBe('fraud/7') // the alias has not moved since
  expect(one.told()!.text).toMatch(/fraud@champion is fraud\/8 .* fraud\/7 judges.*npm run model -- promote fraud\/8/)
  alias('7')
  await one.look()
  expect(one.told()).toBe(undefined)
  alias('8')
  await (await process()).look() // another process, after a restart
  expect(await one.judges()).toBe('fraud/8')
  alias('7')
  await one.look()
  expect((await one.champion.history()).map(({ champion }) => champion)).toEqual([
    'fraud/7',
    'fraud/8',
    'fraud/7',
    'fraud/8',
  ]) // prettier-ignore
})

test('processes that see it at once promote it once: one row of history', async () => {
  const { process, alias } = await open()
  const all = await Promise.all([process(), process(), process()])
  await Promise.all(all.map((each) => each.look()))
  for (const version of ['8', '7', '8']) {
    alias(version)
    await Promise.all(all.map((each) => each.look()))
  }
  const history = await all[0]!.champion.history()
  expect(history.map(({ champion, n }) => `${n} ${champion}`)).toEqual(['3 fraud/8', '2 fraud/7', '1 fraud/8'])
})

test('without PROMOTE_BY_ALIAS it is told, once, with what is to be typed, and is a condition until it is done', async () => {
  const { process, alias } = await open()
  const one = await process({ promote: false, now: () => 5 })
  alias('8')
  for (let n = 0; n < 3; n++) await one.look()
  expect(await one.judges()).toBe('fraud/7')
  expect(
    one
      .text()
      .match(/fraud@champion is fraud\/8 in the registry, and fraud\/7 judges: npm run model -- promote fraud\/8/g),
  ).toHaveLength(1)
  expect(one.conditions()).toEqual([
    expect.objectContaining({ wrong: 'fraud@champion is fraud/8 in the registry, and fraud/7 judges.', since: 5 }),
  ])
  await one.champion.promote('fraud/8', 'anna')
  await one.look()
  expect(one.conditions()[0]!.wrong).toBe(undefined)
  expect(one.text()).toContain('fraud@champion is fraud/8, which judges')
})

test('a version that nobody serves is told with the command that serves it, and promoted by nothing', async () => {
  const { process, alias } = await open({ model: 'fraud/7' })
  const one = await process({ champion: undefined })
  alias('8')
  await one.look()
  expect(one.text()).toMatch(/fraud\/7 judges: mlflow models serve -m models:\/fraud\/8 -p 5001/)
})

test('an alias as MODEL_NAME stands for the version that it was, until the server is said to be another one', async () => {
  const { process, alias } = await open({ model: 'fraud@champion' })
  const one = await process()
  const at = async () => (await one.champion.roles()).model
  expect(await at()).toBe('fraud@champion')
  await one.look()
  expect(await at()).toBe('fraud/7')
  alias('8')
  const later = await process() // as after a restart: the server goes on serving what it was started with
  await later.look()
  expect((await later.champion.roles()).model).toBe('fraud/7')
  expect(later.text()).toMatch(/start the server at MODEL_URL anew from it .*, then npm run model -- promote fraud\/8/)
  await expect(later.champion.promote('other/8', 'anna')).rejects.toThrow('other/8 is no version of fraud')
  await expect(later.champion.rollback('anna')).rejects.toThrow('nothing to take back')
  await later.champion.promote('fraud/8', 'anna')
  await later.look()
  expect([(await later.champion.roles()).model, later.told()]).toEqual(['fraud/8', undefined])
  expect(await later.champion.rollback('anna')).toMatchObject({ champion: 'fraud/7', before: 'fraud/8' })
})

test('an alias and a challenger: the version at MODEL_URL is kept while the other one is the champion', async () => {
  const { process, alias } = await open({ model: 'fraud@champion', challenger: 'fraud/8' })
  const one = await process()
  await one.look()
  alias('8')
  await one.look()
  expect(await one.champion.roles()).toEqual({ role: 'challenger', model: 'fraud/7', challenger: 'fraud/8' })
  alias('7')
  await one.look()
  expect(await one.champion.roles()).toEqual({ role: 'model', model: 'fraud/7', challenger: 'fraud/8' })
})

test.for<[Names, RegExp]>([
  [{ model: 'fraus/7' }, /MODEL_NAME: got "fraus\/7": the registry at .* has no model fraus; it has fraud, other;/],
  [{ model: 'fraud/9', challenger: 'fraud/8' }, /MODEL_NAME: .* has no version 9 of fraud; it has 8, 7;/],
  [{ model: 'fraud/7', challenger: 'fraud/9' }, /CHALLENGER_NAME: .* has no version 9 of fraud; it has 8, 7;/],
  [{ model: 'fraud/7', challenger: 'fraud@champion' }, /CHALLENGER_NAME: got "fraud@champion", an alias: /],
  [{ model: 'fraud@chef' }, /no alias chef of fraud; it has champion \(version 7\), and version 8, 7;/],
])('%o: what the registry does not know is one warning with what it has', async ([names, wanted]) => {
  const models = { fraud: { versions: ['7', '8'], aliases: { champion: '7' } }, other: { versions: [], aliases: {} } }
  const { process } = await open(names, models)
  const one = await process()
  for (let n = 0; n < 3; n++) await one.look()
  expect(one.text().match(new RegExp(wanted, 'g'))).toHaveLength(1)
})

const page = '<!doctype html><title>Sign in</title>'
test.for<[string, number, string, Record<string, string>?]>([
  ['a page for people', 200, page],
  ['401', 401, ''],
  ['403', 403, '{"error_code":"PERMISSION_DENIED"}'],
  ['a 404 that is not its own', 404, page],
  ['a redirect', 302, '', { location: 'http://127.0.0.1:1/' }],
  ['a text that is no answer', 200, '"hello"'],
  ['an answer of another shape', 200, '{"model_version":{"version":"8; DROP"}}'],
  ['503', 503, ''],
  ['megabytes', 200, `{"x":"${'x'.repeat(5 * 2 ** 20)}"}`],
])(
  'a registry that answers %s stops nothing, is said once, and once when it is well',
  async ([, status, said, headers]) => {
    const { process, state, alias } = await open()
    const one = await process()
    state.ill = (_, response) => void response.writeHead(status, headers).end(said)
    alias('8')
    for (let n = 0; n < 3; n++) await one.look()
    expect(await one.judges()).toBe('fraud/7')
    expect(one.text().match(/is not known; all goes on, and it is asked again/g)).toHaveLength(1)
    state.ill = undefined
    await one.look()
    expect(await one.judges()).toBe('fraud/8')
    expect(one.text()).toContain('answers again')
  },
)

test('one that never answers is given up after its deadline; no password of the address is in a log', async () => {
  const { process, state, server } = await open()
  server.url.username = 'anna'
  server.url.password = 'a-password-of-hers'
  server.url.searchParams.set('token', 'secret-token-1')
  state.ill = () => {}
  const one = await process({}, 300)
  await one.look()
  expect(one.text()).toMatch(/cannot reach MLflow at 127\.0\.0\.1:\d+: no whole answer within 0\.3 s/)
  expect(one.text()).not.toMatch(/a-password|secret-token|YW5uYT/)
  expect(server.asked[0]).toMatch(/^Basic YW5uYTphLXBhc3N3b3JkLW9mLWhlcnM= .*token=secret-token-1/)
})

test('an alias that is deleted is said once, changes nothing, and may come again', async () => {
  const { process, state, alias } = await open()
  const one = await process()
  alias('8')
  await one.look()
  state.models.fraud!.aliases = {}
  for (let n = 0; n < 3; n++) await one.look()
  expect(await one.judges()).toBe('fraud/8')
  expect(one.text().match(/fraud@champion, which was fraud\/8, is in the registry no more/g)).toHaveLength(1)
  alias('7')
  await one.look()
  expect(await one.judges()).toBe('fraud/7')
})
