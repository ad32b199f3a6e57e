import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { seeded } from '../../src/simulate/random.ts'
import { startDesk } from '../desk/place.ts'
import { prediction } from '../rows.ts'

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
