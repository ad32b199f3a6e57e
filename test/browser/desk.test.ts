import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { simpleParser } from 'mailparser'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compose } from '../../src/notify/mail.ts'
import { idOf } from '../../src/review/reviews.ts'
import type { Prediction } from '../../src/transaction.ts'
import { fraud, startDesk } from '../desk/place.ts'
import { recorded } from '../outside.ts'
import { freePort, LONG_CARD, prediction, tempDir, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
/** Where pictures go for who wants to look at them. */
const PICTURES = process.env.PICTURES
let browser: Browser
beforeAll(async () => {
  if (!existsSync(executablePath)) throw new Error(`no ${executablePath}: install Chromium, or set CHROMIUM`)
  const args = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking'.split(' ')
  browser = await chromium.launch({ executablePath, args })
}, 60_000)
afterAll(() => browser?.close())

async function open({ width = 360, javaScriptEnabled = false, colorScheme = 'light' as 'light' | 'dark' } = {}) {
  const context = await browser.newContext({ javaScriptEnabled, colorScheme, viewport: { width, height: 740 } })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => complaints.push(message.text()))
  page.on('pageerror', (error) => complaints.push(error.message))
  return { page, complaints, [Symbol.asyncDispose]: () => context.close() }
}
const widthOf = (page: Page) => page.evaluate('document.documentElement.scrollWidth')

describe('a first run', { timeout: 240_000 }, () => {
  test('mails a link within a minute; on a phone without JavaScript it labels, undoes, and an old form is told', async () => {
    await using dir = await tempDir()
    const port = await freePort()
    await using _worker = startWorker(dir.path, { PORT: `${port}`, ALERT_BREAKER: 'off' })
    const link = await waitFor('a mail with a link', async () => {
      for (const name of globSync('outbox/*.eml', { cwd: dir.path })) {
        const { text } = await simpleParser(readFileSync(join(dir.path, name)))
        const [url] = /http:\/\/127\.0\.0\.1:\d+\/desk\/\S+/.exec(text ?? '') ?? []
        if (
          url &&
          recorded(dir.file('data/fraud.db')).some((row) =>
            url.includes(idOf({ trans_num: String(row.trans_num), event_time: Number(row.event_time) })),
          )
        )
          return url
      }
    })
    const columns = () => {
      const row = recorded(dir.file('data/fraud.db')).find((one) =>
        link.includes(idOf({ trans_num: String(one.trans_num), event_time: Number(one.event_time) })),
      )
      return [row!.fraud_confirmed, row!.reviewed_by]
    }
    await using first = await open()
    await using second = await open()
    await first.page.goto(link)
    await second.page.goto(link)
    expect(await widthOf(first.page)).toBe(360)
    await first.page.getByRole('button', { name: 'Fraud' }).click()
    expect(columns()).toEqual([1n, 'this machine'])
    await first.page.getByRole('button', { name: 'Undo' }).first().click()
    expect(columns()).toEqual([null, null])
    await second.page.getByRole('button', { name: 'Legitimate' }).click()
    expect(await second.page.locator('h1').innerText()).toBe('Somebody was faster')
    expect(columns()).toEqual([null, null])
    await second.page.getByRole('button', { name: 'Make it legitimate' }).click()
    expect(columns()).toEqual([0n, 'this machine'])
    expect([...first.complaints, ...second.complaints].filter((text) => !text.includes('409'))).toEqual([])
  })
})

const some = () => [
  ...Array.from({ length: 20 }, (_, n) =>
    fraud(n, {
      amt: 60 * n * n + 11.4,
      score: 0.5 + n / 41,
      merchant: ['fraud_Kutch, Hermiston and Farrell', 'fraud_Söhne & Co', null][n % 3]!,
      cc_num: n % 2 ? LONG_CARD : 4_000_000_000_007n,
    }),
  ),
  ...Array.from({ length: 30 }, (_, n) =>
    prediction(100 + n, {
      cc_num: LONG_CARD,
      ...(n % 9 ? {} : { sampled: 0.01 }),
      ...(n === 29 && { merchant: 'm'.repeat(80) }),
    }),
  ),
]

describe('the desk', { timeout: 240_000 }, () => {
  test('takes twenty alarms with twenty keys', async () => {
    const d = await startDesk(some())
    await using b = await open({ width: 1280, javaScriptEnabled: true })
    await b.page.goto(`${d.url}/desk`)
    await b.page.keyboard.press('j')
    await b.page.waitForURL(/desk\/\w+-/)
    for (let n = 0; n < 20; n++) {
      const before = b.page.url()
      await b.page.keyboard.press('flu'[n % 3]!)
      await b.page.waitForURL((url) => url.href !== before)
    }
    expect(d.sql('SELECT count(*) AS n FROM reviews')).toEqual([{ n: 20 }])
    await b.page.keyboard.press('z')
    await b.page.waitForURL(/desk\/\w+-/)
    expect(d.sql('SELECT verdict FROM reviews ORDER BY id DESC LIMIT 1')).toEqual([{ verdict: 'withdrawn' }])
    await b.page.keyboard.press('n')
    await b.page.keyboard.type('full of fun')
    expect(await b.page.locator('textarea').inputValue()).toBe('full of fun')
    await b.page.keyboard.press('Escape')
    await b.page.keyboard.press('/')
    await b.page.waitForURL(/search/)
    expect(b.complaints).toEqual([])
  })

  test('does twenty by mouse: chosen, asked once, done', async () => {
    const d = await startDesk(some())
    await using b = await open()
    await b.page.goto(`${d.url}/desk`)
    for (const box of await b.page.getByRole('checkbox').all()) await box.check()
    await b.page.getByRole('button', { name: 'Legitimate' }).click()
    await b.page.getByRole('button', { name: 'Yes, legitimate' }).click()
    expect(await b.page.getByRole('status').innerText()).toBe('20 done')
    expect(d.sql('SELECT sum(fraud_confirmed = 0) AS n FROM predictions')).toEqual([{ n: 20 }])
  })

  test('is gone through by Tab from top to bottom, each stop with a name and a frame', async () => {
    const d = await startDesk(some())
    await using b = await open()
    const ids = some().slice(0, 20).map(idOf)
    const pages = {
      '/desk': [
        ...[
          'link "Begin with the first"',
          'checkbox "choose $21,671.40"',
          /^link "\$21,671\.40 /,
          /^checkbox/,
          /^link/,
        ],
      ],
      [`/desk/${ids[18]}`]: [
        ...[
          'textbox "Note"',
          'button "Fraud"',
          'button "Legitimate"',
          'button "Unsure"',
          'link "Previous"',
          'link "Next"',
        ],
      ],
      '/desk/search': [/^textbox "last four digits/, 'button "Search"'],
    }
    for (const [path, stops] of Object.entries(pages)) {
      await b.page.goto(new URL(path, d.url).href)
      const tabs = await b.page.locator('nav a').allInnerTexts()
      for (const stop of [...tabs.map((text) => `link "${text}"`), ...stops]) {
        await b.page.keyboard.press('Tab')
        const at = b.page.locator(':focus')
        const [said] = (await at.ariaSnapshot()).split('\n')
        expect({ path, said: said!.replace(/^- '?|'?:?$/g, '').replace(/: .*| \[.*/, '') }).toEqual({
          path,
          said: typeof stop === 'string' ? stop : expect.stringMatching(stop),
        })
        expect(await b.page.evaluate('getComputedStyle(document.activeElement).outlineWidth')).toBe('3px')
      }
      expect({ path, nameless: await b.page.evaluate(NAMELESS) }).toEqual({ path, nameless: [] })
    }
  })

  test.for([
    [360, 'light'],
    [360, 'dark'],
    [1280, 'light'],
    [1280, 'dark'],
  ] as const)('fits %i px, is %s, and each text can be read', async ([width, colorScheme]) => {
    const d = await startDesk(some(), { url: new URL('http://127.0.0.1') })
    await d.reviews.say([
      { ...some()[3]!, verdict: 'fraud', note: 'called the holder', reviewer: 'anna', via: 'page', at: Date.now() },
    ])
    await using b = await open({ width, colorScheme })
    const payment = `/desk/${idOf(some()[19]!)}`
    const token = await startDesk(some(), { token: 'open-sesame' })
    const pages = {
      queue: '/desk',
      audit: '/desk?tab=audit',
      payment,
      done: `/desk/${idOf(some()[3]!)}?tab=done`,
      search: '/desk/search?q=4184',
      front: '/',
      link: token.link(some()[19]!, Date.now()),
      login: `${token.url}/desk/login`,
    }
    for (const [name, path] of Object.entries(pages)) {
      await b.page.goto(new URL(path, d.url).href)
      expect({ name, width: await widthOf(b.page) }).toEqual({ name, width })
      if (PICTURES) await b.page.screenshot({ path: join(PICTURES, `${name}-${width}-${colorScheme}.png`) })
      expect({ name, nameless: await b.page.evaluate(NAMELESS) }).toEqual({ name, nameless: [] })
      expect({ name, faint: await b.page.evaluate(FAINT) }).toEqual({ name, faint: [] })
    }
    const mails = {
      mail: [some()[19]!],
      digest: some()
        .slice(0, 20)
        .filter((_, n) => n % 3),
    }
    for (const [name, frauds] of Object.entries(mails)) {
      const link = (of: Prediction, at: number) => token.link(of, at)
      const { raw } = await compose({ at: Date.now(), frauds }, { from: 'a@b', to: ['c@d'], operators: [], link })
      await b.page.goto('about:blank') // whose policy lets a mail have its styles
      await b.page.setContent(String((await simpleParser(raw)).html))
      expect({ name, width: await widthOf(b.page) }).toEqual({ name, width })
      if (PICTURES) await b.page.screenshot({ path: join(PICTURES, `${name}-${width}-${colorScheme}.png`) })
    }
    expect(b.complaints).toEqual([])
  })
})

/** What can be pressed or filled in, and has no name. */
const NAMELESS = `[...document.querySelectorAll('a,button,summary,textarea,input:not([type=hidden])')]
  .filter((el) => !(el.labels?.[0] ?? el).textContent.trim() && !el.getAttribute('aria-label'))
  .map((el) => el.outerHTML)`

/** Texts whose contrast with what is behind them is below 4.5; what is hidden or has no text is left out. */
const FAINT = `(() => {
  const lum = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0)
  const read = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a] }
  const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a))
  const canvas = matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255]
  const behind = (el) => { const chain = []; for (let at = el; at; at = at.parentElement) chain.unshift(read(getComputedStyle(at).backgroundColor)); return chain.reduce((under, c) => over(c, under), canvas) }
  const opacity = (el) => { let o = 1; for (let at = el; at; at = at.parentElement) o *= Number(getComputedStyle(at).opacity); return o }
  return [...document.querySelectorAll('body *')].filter((el) => el.checkVisibility() && [...el.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).flatMap((el) => {
    const under = behind(el), [r, g, b, a] = read(getComputedStyle(el).color)
    const ink = over([r, g, b, a * opacity(el)], under)
    const [x, y] = [lum(ink), lum(under)].sort((p, q) => q - p)
    const ratio = (x + 0.05) / (y + 0.05)
    return ratio < 4.5 ? [el.tagName + ' ' + el.textContent.trim().slice(0, 30) + ' ' + ratio.toFixed(2)] : []
  })
})()`
