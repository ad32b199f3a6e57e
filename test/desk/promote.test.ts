import { describe, expect, onTestFinished, test } from 'vitest'
import { reviewers } from '../../src/config/schemas.ts'
import { reviewerEntry } from '../../src/desk/keys.ts'
import { type Names, openChampion } from '../../src/shadow/champion.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import { LONG_CARD, prediction, tempDir } from '../rows.ts'
import { type Client, formOf, startDesk } from './place.ts'

const PASSWORD = 'a password of many'
const BOTH = { model: 'fraud/7', challenger: 'fraud/8' }
/** A desk with a lead, anna, and bruno, who is none. */
async function open(names: Names = BOTH, told = '') {
  const stack = new AsyncDisposableStack()
  onTestFinished(() => stack.disposeAsync())
  const dir = stack.use(await tempDir())
  const topics = stack.adopt(await sqliteTopics({ path: dir.file('topics.db') }), (t) => t.close())
  const champion = openChampion(topics, names)
  const people = [await reviewerEntry('anna', PASSWORD, true), await reviewerEntry('bruno', PASSWORD, false)]
  const d = await startDesk([prediction(1, { model: 'fraud/7' })], {
    reviewers: reviewers.parse(people.join(',')),
    choice: { champion, told: () => (told ? { text: told } : undefined) },
  })
  const as = async (name: string) => {
    const client = d.client()
    await client.post('/desk/login', { name, password: PASSWORD })
    return client
  }
  return { d, champion, as, judges: async () => (await champion.both()).champion }
}
const PAGE = '/desk/models'
const fieldsOf = async (client: Client) => formOf((await client.get(PAGE)).text, PAGE)

test('a lead types the name of the challenger, which judges from then on; the page says who did it; and takes it back', async () => {
  const { as, champion, judges } = await open()
  const anna = await as('anna')
  const before = await anna.get(PAGE)
  expect(before.text).toContain('<b>fraud/7</b> judges; fraud/8 is the challenger')
  expect(before.text).toContain('<button>Promote</button>')
  const done = await anna.post(PAGE, { ...formOf(before.text, PAGE), name: ' fraud/8 ' })
  expect([done.status, done.location]).toEqual([303, PAGE])
  expect((await champion.roles()).role).toBe('challenger')
  const after = (await anna.get(PAGE)).text
  expect(after).toContain('<b>fraud/8</b> judges; fraud/7 is the challenger')
  expect(after).toMatch(/<b>fraud\/8<\/b> in the place of fraud\/7, by anna/)
  expect(after).toContain('<button>Roll back</button>')
  await anna.post(PAGE, { ...formOf(after, PAGE), name: 'fraud/7' })
  expect(await judges()).toBe('fraud/7')
  expect((await anna.get(PAGE)).text).toContain('2 changes of it')
  expect((await champion.history()).map(({ champion, by }) => `${champion} ${by}`)).toEqual([
    'fraud/7 anna',
    'fraud/8 anna',
  ])
})

test('only a lead may: others see who judges, and have no form', async () => {
  const { as, judges, d } = await open()
  const bruno = await as('bruno')
  const page = await bruno.get(PAGE)
  expect(page.text).toContain('A lead can change that')
  expect(page.text).not.toContain('action="/desk/models"')
  const stolen = await fieldsOf(await as('anna'))
  expect((await bruno.post(PAGE, { ...stolen, name: 'fraud/8' })).status).toBe(403)
  expect((await d.client().post(PAGE, { ...stolen, name: 'fraud/8' })).location).not.toBe(PAGE)
  expect(await judges()).toBe('fraud/7')
})

describe('changes nothing', () => {
  type Change = { fields?: Record<string, string>; headers?: Record<string, string>; status: number }
  test.for<[string, Change]>([
    ['with another name', { fields: { name: 'fraud/9' }, status: 422 }],
    ['with the name of who judges', { fields: { name: 'fraud/7' }, status: 422 }],
    ['with no name', { fields: { name: '' }, status: 422 }],
    ['with a card number for a name', { fields: { name: String(LONG_CARD) }, status: 422 }],
    ['with a script for a name', { fields: { name: '<script>alert(1)</script>' }, status: 422 }],
    ['with another key', { fields: { key: 'no' }, status: 403 }],
    ['from another page', { headers: { origin: 'http://evil.example' }, status: 403 }],
    ['without an origin', { headers: { origin: '' }, status: 403 }],
    ['after somebody else', { fields: { seen: '4' }, status: 409 }],
    ['with 70 kB', { fields: { name: 'x'.repeat(70_000) }, status: 413 }],
  ])('a form %s', async ([, { fields = {}, headers = {}, status }]) => {
    const { as, judges } = await open()
    const anna = await as('anna')
    const answer = await anna.post(PAGE, { ...(await fieldsOf(anna)), name: 'fraud/8', ...fields }, headers)
    expect(answer.status).toBe(status)
    expect(answer.text).not.toMatch(/<script>alert|\d{11}/)
    expect(await judges()).toBe('fraud/7')
  })

  test('a GET or a HEAD, whatever stands behind it', async () => {
    const { as, judges } = await open()
    const anna = await as('anna')
    const query = new URLSearchParams({ ...(await fieldsOf(anna)), name: 'fraud/8' })
    for (const method of ['GET', 'HEAD']) await anna.ask(`${PAGE}?${query}`, { method })
    expect(await judges()).toBe('fraud/7')
  })
})

test('two leads at once: one of them is told', async () => {
  const { as, judges, champion } = await open()
  const [one, other] = [await as('anna'), await as('anna')]
  const [mine, theirs] = [await fieldsOf(one), await fieldsOf(other)]
  await one.post(PAGE, { ...mine, name: 'fraud/8' })
  const late = await other.post(PAGE, { ...theirs, name: 'fraud/8' })
  expect([late.status, late.text]).toEqual([409, expect.stringContaining('fraud/8 judges by now')])
  expect([await judges(), (await champion.history()).length]).toEqual(['fraud/8', 1])
})

test('what the registry says otherwise stands there; a version of an alias is taken without a challenger', async () => {
  const { as, champion } = await open({ model: 'fraud@champion' }, 'fraud@champion is fraud/8 in the <registry>')
  await champion.bind('fraud/7')
  const anna = await as('anna')
  const { text } = await anna.get(PAGE)
  expect(text).toContain('fraud@champion is fraud/8 in the &lt;registry&gt;')
  expect((await anna.post(PAGE, { ...formOf(text, PAGE), name: 'other/8' })).status).toBe(422)
  expect((await anna.post(PAGE, { ...formOf(text, PAGE), name: 'fraud/8' })).status).toBe(303)
  expect((await champion.roles()).model).toBe('fraud/8')
})

test('where there is one model alone there is nothing to change', async () => {
  const d = await startDesk([prediction(1)])
  const client = d.client()
  expect((await client.get(PAGE)).text).not.toContain('Who judges')
  expect((await client.post(PAGE, { name: 'fraud/8' })).status).toBeGreaterThanOrEqual(400)
})
