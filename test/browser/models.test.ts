import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { openChampion } from '../../src/shadow/champion.ts'
import { seeded } from '../../src/simulate/random.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import { startDesk } from '../desk/place.ts'
import { prediction, tempDir } from '../rows.ts'

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
const PICTURES = process.env.PICTURES
let browser: Browser
beforeAll(async () => {
  if (!existsSync(executablePath)) throw new Error(`no ${executablePath}: install Chromium, or set CHROMIUM`)
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
}, 60_000)
afterAll(() => browser?.close())

const DAY = 86_400_000
/** Six weeks of a model with scores, and of the one before it. */
function world() {
  const { uniform, normal, pick } = seeded(4)
  return Array.from({ length: 8400 }, (_, n) => {
    const is_fraud = uniform() < 0.02 ? 1 : 0
    const score = 1 / (1 + Math.exp(-(is_fraud ? 1.2 : -3) - 1.3 * normal()))
    return prediction(n, {
      ...{ is_fraud, score, threshold: 0.5, prediction: score >= 0.5 ? 1 : 0, model: n < 2000 ? 'fraud/6' : 'fraud/7' },
      amt: Math.exp((is_fraud ? 5.5 : 3.5) + normal()),
      category: pick(['food', 'net', 'travel']),
      event_time: Date.UTC(2026, 0, 1) + Math.floor((n / 200) * DAY),
    })
  })
}

test('the models fit a phone and a screen, without a script, light and dark; the charts are drawn and their numbers open', async () => {
  const d = await startDesk(world())
  for (const [width, colorScheme] of [
    [360, 'light'],
    [1280, 'light'],
    [360, 'dark'],
  ] as const) {
    const context = await browser.newContext({
      javaScriptEnabled: false,
      colorScheme,
      viewport: { width, height: 740 },
    })
    const page = await context.newPage()
    const complaints: string[] = []
    page.on('console', (message) => complaints.push(message.text()))
    await page.goto(`${d.url}/desk/models`)
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width)
    const charts = await page.locator('svg').all()
    expect(charts).toHaveLength(5)
    for (const chart of charts) expect((await chart.boundingBox())!.height).toBeGreaterThan(80)
    const drawn = 'getComputedStyle(document.querySelector("rect.fraud")).fill'
    expect(await page.evaluate(drawn)).not.toBe('rgb(0, 0, 0)')
    if (PICTURES) await page.screenshot({ path: join(PICTURES, `models-${width}-${colorScheme}.png`), fullPage: true })
    if (PICTURES) await page.screenshot({ path: join(PICTURES, `top-${width}-${colorScheme}.png`) })
    await page.locator('summary').first().click()
    expect(await page.locator('table').first().isVisible()).toBe(true)
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width)
    expect(complaints).toEqual([])
    await context.close()
  }
}, 120_000)

test('a lead promotes on a phone without a script, by typing the name, and rolls back; a screen has it beside the comparison', async () => {
  await using dir = await tempDir()
  const topics = await sqliteTopics({ path: dir.file('topics.db') })
  onTestFinished(() => topics.close())
  const champion = openChampion(topics, { model: 'fraud/7', challenger: 'fraud/8' })
  const names = async () => {
    const { champion: one, challenger = '' } = await champion.both()
    return { names: { champion: one, challenger }, stamped: { champion: one, challenger } }
  }
  const rows = world()
  const told = () => ({ text: 'fraud@champion is fraud/8 in the registry, and fraud/7 judges.' })
  const d = await startDesk(rows, { pair: names, choice: { champion, told } })
  const judged = rows.filter(({ model }) => model === 'fraud/7')
  const better = (p: (typeof rows)[number]) => (p.is_fraud === 1 && p.score! > 0.3 ? 1 : p.prediction)
  for (let n = 0; n < judged.length; n += 500)
    await d.reviews.keep(
      judged.slice(n, n + 500).map((p) => ({ ...p, model: 'fraud/8', threshold: 0.5, prediction: better(p) })),
    )
  const open = async (width: number) => {
    const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width, height: 740 } })
    onTestFinished(() => context.close())
    const page = await context.newPage()
    await page.goto(`${d.url}/desk/models`)
    return page
  }
  const screen = await open(1280)
  const section = screen.locator('section', { hasText: 'Who judges' })
  if (PICTURES) await section.screenshot({ path: join(PICTURES, 'promote-1280.png') })
  const against = screen.locator('section', { hasText: 'the challenger, against' })
  if (PICTURES) await against.screenshot({ path: join(PICTURES, 'against-1280.png') })
  const page = await open(360)
  await page.getByRole('textbox').fill('fraud/9')
  await page.getByRole('button', { name: 'Promote' }).click()
  expect(await page.locator('h1').innerText()).toBe('Another name')
  await page.goBack()
  await page.getByRole('textbox').fill('fraud/8')
  await page.getByRole('button', { name: 'Promote' }).click()
  const here = page.locator('section', { hasText: 'Who judges' })
  expect(await here.innerText()).toMatch(/fraud\/8 judges; fraud\/7 is the challenger[\s\S]*by this machine/)
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360)
  if (PICTURES) await here.screenshot({ path: join(PICTURES, 'promoted-360.png') })
  await page.getByRole('textbox').fill('fraud/7')
  await page.getByRole('button', { name: 'Roll back' }).click()
  expect((await champion.history()).map(({ champion, by }) => `${champion} ${by}`)).toEqual([
    'fraud/7 this machine',
    'fraud/8 this machine',
  ])
}, 120_000)
