import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { outside, someRows } from '../outside.ts'
import { LONG_CARD, row, tempDir, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'

/** CHROMIUM names another one. */
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
const QUIET = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking'
let browser: Browser
beforeAll(async () => {
  if (!existsSync(executablePath))
    throw new Error(`no ${executablePath}: install Chromium, or set CHROMIUM to where it is`)
  const args = [...QUIET.split(' '), '--disable-component-update', '--disable-sync']
  browser = await chromium.launch({ executablePath, args })
}, 60_000)
afterAll(() => browser?.close())

/** A real worker, and a page of a real browser that shows its status page; with what the browser complains of. */
async function watched(options: { width?: number; settings?: Record<string, string>; token?: string } = {}) {
  const stack = new AsyncDisposableStack()
  const dir = stack.use(await tempDir())
  const world = stack.use(await outside([row(0, { cc_num: LONG_CARD }), ...someRows(3000)], dir.path))
  const worker = stack.use(startWorker(dir.path, { ...world.env, PRODUCER_RATE_PER_MIN: '600', ...options.settings }))
  const url = await waitFor('the status page', () => /status page: (http:\S+\/)/.exec(worker.text())?.[1])
  const context = await browser.newContext({
    javaScriptEnabled: false,
    viewport: { width: options.width ?? 1100, height: 720 },
    ...(options.token && { httpCredentials: { username: 'me', password: options.token } }),
  })
  stack.defer(() => context.close())
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => complaints.push(message.text()))
  page.on('requestfailed', (request) => complaints.push(request.url()))
  page.on('pageerror', (error) => complaints.push(error.message))
  return { world, worker, url, page, complaints, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

describe('the status page in a browser', { timeout: 120_000 }, () => {
  test('shows each stage, and refreshes by itself without a script', async () => {
    await using w = await watched()
    await waitFor('some rows', () => w.world.recorded().length > 10)
    await w.page.goto(w.url)
    expect(await w.page.title()).toBe('Everything works · client-predict')
    const lines = await w.page.locator('tbody tr').allInnerTexts()
    expect(lines.map((line) => line.split(/\s/)[0])).toEqual(['producer', 'score', 'alert', 'record'])
    expect(lines[3]).toMatch(/working.*\d\d recorded/s)
    w.world.model.down = true
    await w.page.getByText('score fails').waitFor({ timeout: 30_000 }) // nobody asks but the page itself
    expect(await w.page.locator('tbody tr').nth(1).innerText()).toMatch(/failing.*cannot reach the model/s)
    w.world.model.down = false
    await w.page.getByText('Everything works').waitFor({ timeout: 60_000 })
    expect(w.complaints).toEqual([])
  })

  test('is styled: the browser takes its one style sheet, and nothing else is asked for', async () => {
    await using w = await watched()
    const asked: string[] = []
    w.page.on('request', (request) => asked.push(new URL(request.url()).pathname))
    await w.page.goto(w.url)
    expect(await w.page.evaluate("getComputedStyle(document.querySelector('h1')).borderLeftWidth")).toBe('6px')
    expect(asked.filter((path) => path !== '/')).toEqual([])
    expect(w.complaints).toEqual([])
  })

  test('fits a phone: nothing sticks out, and each stage keeps its name and state', async () => {
    await using w = await watched({ width: 360 })
    w.world.model.down = true
    await waitFor('an outage', () => w.worker.text().includes('cannot reach the model'))
    await w.page.goto(w.url)
    expect(await w.page.evaluate('document.documentElement.scrollWidth')).toBe(360)
    expect(await w.page.locator('tbody th').first().isVisible()).toBe(true)
    expect(await w.page.locator('thead').isVisible()).toBe(false)
  })

  test('shows no card number', async () => {
    await using w = await watched()
    await waitFor('the first row', () => w.world.recorded().length > 0)
    await w.page.goto(w.url)
    expect(await w.page.content()).not.toMatch(/\d{11}/)
  })

  test('asks for the token as a password, where one is set', async () => {
    const settings = { STATUS_TOKEN: 'open-sesame' }
    await using stranger = await watched({ settings })
    await expect(stranger.page.goto(stranger.url)).rejects.toThrow('ERR_INVALID_AUTH_CREDENTIALS') // nobody typed one
    await using friend = await watched({ settings, token: 'open-sesame' })
    expect((await friend.page.goto(friend.url))!.status()).toBe(200)
    expect(await friend.page.locator('h1').innerText()).toMatch(/works|Starting/)
  })
})
