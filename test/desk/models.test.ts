import { expect, test } from 'vitest'
import { openCare } from '../../src/care/care.ts'
import { qualityLines } from '../../src/commands/quality.ts'
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

test('the challenger stands beside the champion on the same rows, in words and drawn, too early or not, and leads to what it alone flags', async () => {
  const names = { champion: 'rf/7', challenger: '<b>rf/8' }
  const pair = async () => ({ names, stamped: names })
  const d = await startDesk(rows(), { pair })
  const before = await d.client().get('/desk/models')
  expect(before.text).toContain('have judged no row both that counts yet')
  expect(before.text).toContain('/desk?tab=disagreements')
  expect(before.text.match(/<svg/g)).toHaveLength(4)

  // It catches each fraud of the first 300 rows, and flags every 29th other one.
  const said = (n: number) => ((n % 10 === 3 || n % 29 === 0) && !(n % 30 === 13 && n > 200) ? 1 : 0) as 0 | 1
  const judged = rows()
    .slice(0, 300)
    .map((p, n) => ({ ...p, model: names.challenger, threshold: 0.5, prediction: said(n) }))
  const e = await startDesk(rows(), { pair })
  await e.reviews.keep(judged)
  await e.reviews.draw(await e.reviews.undrawn(0))
  const { text } = await e.client().get('/desk/models')
  const of = (which: (n: number, flagged: boolean, is: boolean) => boolean) =>
    rows()
      .slice(0, 300)
      .filter((p, n) => which(n, p.prediction === 1, p.is_fraud === 1)).length
  const both = of((n, flagged, is) => is && flagged && said(n) === 1)
  const alone = of((n, flagged, is) => is && !flagged && said(n) === 1)
  const other = of((n, flagged, is) => is && flagged && said(n) === 0)
  expect([both, alone, other].every((count) => count > 0)).toBe(true)
  expect(text).toContain('&lt;b&gt;rf/8, the challenger, against rf/7')
  expect(text).toContain(`30 frauds: ${both} caught by both, ${alone} by &lt;b&gt;rf/8 alone, ${other} by rf/7 alone`)
  expect(text).toMatch(
    /<p>too early to say which one catches more frauds \(evidence [\d.]+ of 20, McNemar p [\d.]+\): /,
  )
  expect(text).toMatch(/caught less reviews, &lt;b&gt;rf\/8 against rf\/7: -?\$[\d,]+; -?\$[\d,]+ to -?\$[\d,]+ in 95/)
  const waiting = of((n, flagged) => !flagged && said(n) === 1)
  expect(text).toContain(`alone flags: ${waiting} payments to look at`)
  expect((await e.reviews.queue('disagreements', 99)).length).toBe(waiting)
  const [drawn = ''] = /Frauds among the rows[\s\S]*?<\/table>/.exec(text) ?? []
  const cells = [...drawn.matchAll(/<t[hd][^>]*>([^<]*)<\/t[hd]>/g)].map(([, cell]) => cell)
  expect(cells.slice(3)).toEqual([
    'rf/7',
    `${both + other}`,
    `${30 - both - other}`,
    '&lt;b&gt;rf/8',
    `${both + alone}`,
    `${30 - both - alone}`,
  ])
  expect(text.match(/<svg/g)).toHaveLength(6)
  expect(text.match(/<table/g)).toHaveLength(6)
  expect(text).not.toContain('<b>rf')

  const care = openCare({ reviews: e.reviews, rules: { reviewCost: 2 }, pair })
  const printed = qualityLines(await care.quality(), await care.compared()).join('\n')
  expect(printed).toContain('<b>rf/8, the challenger, against rf/7\n  300 rows that both have judged')
  expect(printed).toMatch(/ {2}too early to say which one catches more frauds/)
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

test('a model of an odd name, or of none, is said in one line, on the page as in the metrics', async () => {
  const odd = '\u202egnp\u001b[31m 4111111111111111'
  const d = await startDesk([
    prediction(1, { prediction: 1, model: odd, threshold: 0.5 }),
    prediction(2, { model: '', threshold: 0.5 }),
  ])
  const care = openCare({ reviews: d.reviews, rules: { reviewCost: 2 } })
  const { registry } = openMonitor(['record']).metrics
  qualityGauges(registry, care.latest)
  const printed = qualityLines(await care.quality()).join('\n')
  expect(printed).toContain('\na model without a name, threshold 0.5')
  for (const text of [printed, await registry.metrics(), (await d.client().get('/desk/models')).text])
    expect(text).toMatch(/^\P{C}*gnp \[31m …1111/mu)
})
