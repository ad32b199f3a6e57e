import { expect, test } from 'vitest'
import { openCare } from '../../src/care/care.ts'
import { openMonitor } from '../../src/status/monitor.ts'
import { qualityGauges } from '../../src/status/quality.ts'
import { LONG_CARD, prediction } from '../rows.ts'
import { startDesk } from './place.ts'

const DAY = 86_400_000
const START = Date.UTC(2026, 0, 1)
/** Forty days of one model: every tenth row a fraud, of which a third is below the threshold. */
const rows = (model = 'rf/7') =>
  Array.from({ length: 400 }, (_, n) => {
    const is_fraud = n % 10 === 3 ? 1 : 0
    const score = is_fraud ? (n % 30 === 3 ? 0.42 : 0.8) : n % 17 === 0 ? 0.6 : 0.1
    return prediction(n, {
      ...{ model, is_fraud, score, prediction: score >= 0.5 ? 1 : 0, threshold: 0.5, amt: is_fraud ? 200 : 20 },
      ...{ event_time: START + n * (DAY / 10), cc_num: LONG_CARD },
    })
  })

test('the page says each figure with its interval, draws it, and has the numbers in tables', async () => {
  const d = await startDesk(rows())
  const page = await d.client().get('/desk/models')
  expect(page.status).toBe(200)
  expect(page.text).toContain('<h2>rf/7, threshold 0.5</h2>')
  expect(page.text).toMatch(/<dt>Missed<\/dt><dd>35 % \(\d+ % to \d+ %\) of all frauds<\/dd>/)
  expect(page.text).toContain('26 caught, 14 missed, 22 false alarms')
  expect(page.text.match(/<svg/g)).toHaveLength(4)
  expect(page.text.match(/<table/g)).toHaveLength(4)
  expect(page.text).toContain('The cheapest threshold on even days')
  expect(page.text).toMatch(/on 20 odd days it would have saved \$[\d,]+ \(\$\d/)
  expect(page.text).toContain('Missed frauds, the last 14')
  expect(page.text).not.toContain('<script src')
  expect(page.text.match(/[0-9]{11,}/g)).toBe(null)
  expect(page.text).not.toMatch(/ style="/) // the browser is told to take none
})

test('a name of a model is text, whatever it is, and an empty database is said', async () => {
  const d = await startDesk(rows('<script>alert(1)</script>'))
  const page = await d.client().get('/desk/models')
  expect(page.text).not.toContain('<script>alert')
  expect(page.text).toContain('&lt;script&gt;alert')
  const none = await (await startDesk([])).client().get('/desk/models')
  expect(none.text).toContain('No model has judged anything')
})

test('is for whoever the desk is for, and changes nothing', async () => {
  const d = await startDesk(rows(), { token: 'a token of eight' })
  const before = d.dump()
  expect((await d.client().get('/desk/models')).location).toBe('/desk/login')
  const inside = d.client()
  await inside.post('/desk/login', { name: 'anna', password: 'a token of eight' })
  expect((await inside.get('/desk/models')).text).toContain('rf/7')
  expect(d.dump()).toBe(before)
})

test('gauges have the bounds, of what can be known alone', async () => {
  const d = await startDesk(rows())
  const care = openCare({ reviews: d.reviews, rules: { reviewCost: 2 } })
  const { registry } = openMonitor(['record']).metrics
  qualityGauges(registry, care.latest)
  expect(await registry.metrics()).not.toContain('client_predict_precision{')
  await care.quality()
  const text = await registry.metrics()
  const of = (bound: string) =>
    Number(
      new RegExp(`client_predict_false_negative_rate\\{model="rf/7",threshold="0.5",bound="${bound}"\\} (.*)`).exec(
        text,
      )?.[1],
    )
  expect(of('value')).toBeCloseTo(0.35, 9)
  expect(of('low')).toBeLessThan(0.35)
  expect(of('high')).toBeGreaterThan(0.35)
})
