import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { troubleRules } from '../../src/alert/trouble.ts'
import { openCare } from '../../src/care/care.ts'
import { FIXED, watchModel } from '../../src/care/fingerprint.ts'
import { FEATURES } from '../../src/columns.ts'
import { stringify } from '../../src/io/json.ts'
import { mlflow } from '../../src/score/mlflow.ts'
import { openRows } from '../desk/place.ts'
import { listeningLog, prediction, waitFor } from '../rows.ts'
import { modelServer } from '../score/server.ts'

const HOUR = 3_600_000
type Say = (amt: number, category: string) => number
async function serving(first: Say) {
  const state = { say: first, down: false }
  const server = await modelServer((rows) => {
    if (state.down) return 'hang up'
    const score = ({ amt, category }: { [column: string]: unknown }) => state.say(Number(amt), String(category))
    return { predictions: rows.map((row) => [1 - score(row), score(row)]) }
  })
  const model = mlflow({ url: server.url, headers: {}, features: [...FEATURES], unixTimeUnit: 's', threshold: 0.5 })
  return Object.assign(state, { server, model })
}
const byAmount: Say = (amt) => Math.min(1, amt / 1000)

test('the fixed rows stay the same, are such as a model is sent, and differ', () => {
  expect(FIXED).toHaveLength(64)
  const hash = createHash('sha256').update(stringify(FIXED)).digest('hex').slice(0, 16)
  expect(hash).toBe('a3549c30a9518faa') // another one would be another model to every database that there is
  for (const row of FIXED) for (const column of FEATURES) expect(row[column], column).not.toBe(null)
  expect(new Set(FIXED.map(({ amt }) => amt)).size).toBeGreaterThan(60)
})

test('another model under the same name is told once, by log and mail, and once when the first one is back; an outage is none', async () => {
  const m = await serving(byAmount)
  await using _server = m.server
  const start = Date.UTC(2026, 0, 3)
  let now = start
  const { reviews } = await openRows([prediction(1)])
  const { log, text } = listeningLog()
  const clock = () => now
  using watching = watchModel({ champion: async () => ({ model: m.model, name: 'rf/7' }), reviews, log, now: clock })
  const rules = troubleRules()
  const mails: string[] = []
  async function hour() {
    now += HOUR
    await watching.look().catch(() => {})
    const care = openCare({ reviews, rules: { reviewCost: 2 }, now: clock })
    await care.look()
    for (const at of [now, now + HOUR / 2])
      mails.push(...rules.saw(care.conditions(), at).map(({ subject }) => subject))
  }
  for (let i = 0; i < 3; i++) await hour()
  m.down = true
  await hour()
  m.down = false
  await hour()
  expect([mails, text()]).toEqual([[], ''])
  m.say = (amt, category) => Math.min(1, byAmount(amt, category) + 1e-7) // as another machine computes it
  await hour()
  expect([mails, text()]).toEqual([[], ''])
  m.say = (amt, category) => byAmount(amt, category) - (amt === FIXED[7]!.amt ? 0.002 : 0)
  for (let i = 0; i < 3; i++) await hour()
  expect(mails).toEqual([
    expect.stringMatching(/^client-predict: another model answers as rf\/7 since 2026-01-03 07:00/),
  ])
  expect(text().match(/another model answers at MODEL_URL than before, and its name is rf\/7/g)).toHaveLength(1)
  m.say = byAmount
  for (let i = 0; i < 3; i++) await hour()
  expect(mails).toHaveLength(2)
  expect(mails[1]).toMatch(/the first model answers as rf\/7 again/)
  await waitFor('rows', () => m.server.asked.every((rows) => rows.length === 64 || rows.length === 10))
})
