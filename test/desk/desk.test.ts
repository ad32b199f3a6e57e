import { connect } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { reviewers } from '../../src/config/schemas.ts'
import { reviewerEntry } from '../../src/desk/keys.ts'
import { DAY, MINUTE } from '../../src/io/time.ts'
import { idOf } from '../../src/review/reviews.ts'
import { LONG_CARD, prediction, waitFor } from '../rows.ts'
import { formOf, fraud, startDesk } from './place.ts'

const NOW = Date.now()

describe('the queue', () => {
  test('has the open alarms with their sum, and a tab for each kind', async () => {
    const d = await startDesk([fraud(1), fraud(2, { amt: 900 }), prediction(3, { sampled: 0.01 }), prediction(4)])
    const c = d.client()
    const { status, text } = await c.get('/desk')
    expect(status).toBe(200)
    expect(text).toContain('2 alarms, $911.00')
    expect(text.indexOf(idOf(fraud(2)))).toBeLessThan(text.indexOf(idOf(fraud(1))))
    expect(text).not.toContain(idOf(prediction(4)))
    const audit = await c.get('/desk?tab=audit')
    expect(audit.text).toContain(idOf(prediction(3)))
    expect(audit.text).not.toMatch(/<meter|1\.0 %/) // what the model says is not to be known
    const certain = await startDesk([prediction(3, { sampled: 1 })]) // where all rows are drawn, two models are none
    expect((await certain.client().get(`/desk/${idOf(prediction(3))}`)).text).toContain('Drawn to be looked at')
  })
  test('twenty alarms take twenty posts, each of which leads to the next', async () => {
    const rows = Array.from({ length: 20 }, (_, n) => fraud(n))
    const d = await startDesk(rows)
    const c = d.client()
    let page = await c.get(`/desk/${idOf(rows[19]!)}`)
    for (let left = 20; left > 0; left--) {
      const [, action = ''] = /<form method="post" action="(\/desk\/[^"]+)" class="say"/.exec(page.text)!
      page = await c.follow(
        await c.post(action, { ...formOf(page.text, action), verdict: left % 2 ? 'fraud' : 'legit' }),
      )
    }
    expect(page.text).toContain('0 alarms')
    expect(d.sql('SELECT fraud_confirmed AS f, count(*) AS n FROM predictions GROUP BY f')).toEqual([
      { f: 0, n: 10 },
      { f: 1, n: 10 },
    ])
  })
  test('of what is chosen all is done after one question, but for what somebody else was faster with', async () => {
    const rows = [fraud(1), fraud(2), fraud(3)]
    const d = await startDesk(rows)
    const c = d.client()
    const { text } = await c.get('/desk')
    const boxes = [...text.matchAll(/name="of" value="([^"]+)"/g)].map(([, value]): [string, string] => ['of', value!])
    const fields: [string, string][] = [...Object.entries(formOf(text, '/desk/bulk')), ...boxes]
    const asked = await c.post('/desk/bulk', [...fields, ['verdict', 'legit']])
    expect(asked.text).toContain('3 payments, $36.00: legitimate?')
    expect(d.sql('SELECT * FROM reviews')).toEqual([])
    await d.reviews.say([{ ...rows[1]!, verdict: 'fraud', note: null, reviewer: 'bruno', via: 'page', at: 1 }])
    const sure = Object.entries(formOf(asked.text, '/desk/bulk')).filter(([name]) => name !== 'of')
    const done = await c.follow(await c.post('/desk/bulk', [...sure, ...boxes]))
    expect(done.text).toContain('2 done; 1 not, as somebody was faster')
    expect(d.sql('SELECT fraud_confirmed AS f FROM predictions ORDER BY event_time')).toEqual([
      { f: 0 },
      { f: 1 },
      { f: 0 },
    ])
  })
})

describe('one payment', () => {
  test('is shown with what is usual for its card, and the last payments of that', async () => {
    const at = fraud(0).event_time
    const amounts = [10, 20, 90]
    const rows = amounts.map((amt, n) =>
      prediction(n, { cc_num: LONG_CARD, amt, event_time: at - (3 - n) * 1_800_000 }),
    )
    const row = fraud(9, { cc_num: LONG_CARD, event_time: at })
    const d = await startDesk([...rows, row])
    const { text } = await d.client().get(`/desk/${idOf(row)}`)
    expect(text).toContain(
      'Median $20.00, largest $90.00 of 3 payments; 1 in the hour before, 3 in the day; the last 30 min',
    )
    expect(text).toContain('ends in 4184')
    for (const one of rows) expect(text).toContain(idOf(one))
  })
  test('a verdict is recorded with its note, undone by a new one, and each can be read', async () => {
    const row = fraud(1)
    const d = await startDesk([row])
    const c = d.client()
    const path = `/desk/${idOf(row)}`
    const page = await c.get(path)
    const after = await c.follow(
      await c.post(path, { ...formOf(page.text, path), verdict: 'fraud', note: 'she <b>says</b> so' }),
    )
    expect(after.text).toContain('<b class="fraud">fraud</b>')
    expect(d.sql('SELECT fraud_confirmed, reviewed_by FROM predictions')).toEqual([
      { fraud_confirmed: 1, reviewed_by: 'this machine' },
    ])
    const undone = await c.follow(await c.post(path, formOf(after.text, path)))
    expect(undone.text).toContain('she &lt;b&gt;says&lt;/b&gt; so')
    expect(undone.text).toContain('taken back')
    expect(d.sql('SELECT fraud_confirmed, reviewed_at FROM predictions')).toEqual([
      { fraud_confirmed: null, reviewed_at: null },
    ])
    const old = await c.post(path, { ...formOf(page.text, path), verdict: 'legit' })
    expect(old.status).toBe(409)
    const made = await c.follow(await c.post(path, formOf(old.text, path)))
    expect(made.status).toBe(200)
    expect(d.sql('SELECT verdict FROM reviews ORDER BY id').map(({ verdict }) => verdict)).toEqual([
      'fraud',
      'withdrawn',
      'legit',
    ])
  })
})

describe('a link', () => {
  test('opens its payment without a password, asks for a name once, and shows no other way in', async () => {
    const rows = [fraud(1, { cc_num: LONG_CARD }), fraud(2, { cc_num: LONG_CARD })]
    const d = await startDesk(rows, { token: 'open-sesame' })
    const c = d.client()
    const link = d.link(rows[0]!, NOW)
    expect(link).not.toMatch(/\d{11}|trans-/)
    const page = await c.get(link)
    expect(page.status).toBe(200)
    expect(page.text).not.toContain(idOf(rows[1]!))
    expect(page.text).not.toContain('/desk/search')
    const path = `/desk/${idOf(rows[0]!)}`
    expect((await c.post(path, { ...formOf(page.text, path), verdict: 'fraud' })).status).toBe(400)
    const done = await c.follow(await c.post(path, { ...formOf(page.text, path), verdict: 'fraud', name: 'Zoë' }))
    expect(done.text).toContain('says Zoë (by link)')
    expect(d.sql('SELECT reviewer, via FROM reviews')).toEqual([{ reviewer: 'Zoë (by link)', via: 'link' }])
    await c.follow(await c.post(path, formOf(done.text, path))) // undone, without a name again
    expect(d.sql('SELECT reviewed_at FROM predictions ORDER BY event_time LIMIT 1')).toEqual([{ reviewed_at: null }])
    expect((await c.get('/desk')).location).toBe('/desk/login')
  })
  test('is of no use after 14 days, for another payment, or changed', async () => {
    const rows = [fraud(1), fraud(2)]
    let now = NOW
    const d = await startDesk(rows, { token: 'open-sesame', now: () => now })
    const c = d.client()
    const link = d.link(rows[0]!, NOW)
    const other = link.replace(idOf(rows[0]!), idOf(rows[1]!))
    const changed = link.replace(/.$/, (last) => (last === 'a' ? 'b' : 'a'))
    for (const wrong of [other, changed, link.split('?')[0]!, `${link.split('.')[0]}.`])
      expect([403, 303]).toContain((await c.get(wrong)).status)
    const page = await c.get(link)
    now = NOW + 14 * DAY - MINUTE
    expect((await c.get(link)).status).toBe(200)
    now = NOW + 14 * DAY + 2 * MINUTE
    expect((await c.get(link)).status).toBe(410)
    const path = `/desk/${idOf(rows[0]!)}`
    expect((await c.post(path, { ...formOf(page.text, path), verdict: 'fraud', name: 'Zoë' })).status).toBe(403)
    expect(d.sql('SELECT * FROM reviews')).toEqual([])
  })
})

test('a thousand GETs and HEADs over every path and link change nothing', async () => {
  const rows = [fraud(1), fraud(2), prediction(3, { sampled: 0.1 })]
  const d = await startDesk(rows)
  const c = d.client()
  const before = d.dump()
  const id = idOf(rows[0]!)
  const { key = '', seen = '' } = formOf((await c.get(`/desk/${id}`)).text, `/desk/${id}`)
  const say = new URLSearchParams({ key, seen, verdict: 'fraud', say: 'fraud', sure: 'yes', of: `${id}~${seen}` })
  const pages = 'login bulk search labels models x'.split(' ').map((name) => `/desk/${name}`)
  const paths = ['/', '/healthz', '/readyz', '/metrics', '/desk', '/desk/', `/desk/${id}`, ...pages]
  const all = [
    ...paths.flatMap((path) => [path, `${path}?${say}`]),
    ...rows.map((row) => d.link(row, NOW)),
    `${d.link(rows[0]!, NOW)}&${say}`,
    ...['?tab=audit', '?tab=unsure', '?tab=done', '/search?q=4184'].map((end) => `/desk${end}`),
  ]
  for (let n = 0; n < 1000; n++) await c.ask(all[n % all.length]!, { method: n % 3 ? 'GET' : 'HEAD' })
  expect(d.dump()).toBe(before)
}, 120_000)

test('a form counts with its own key alone, from a page of ours', async () => {
  const rows = [fraud(1), fraud(2)]
  let now = NOW
  const d = await startDesk(rows, { now: () => now })
  const c = d.client()
  const [path, other] = rows.map((row) => `/desk/${idOf(row)}`) as [string, string]
  const form: Record<string, string> = { ...formOf((await c.get(path)).text, path), verdict: 'fraud' }
  const elsewhere = formOf((await c.get(other)).text, other)
  const before = d.dump()
  for (const headers of [{ origin: 'https://evil.example' }, { origin: 'null' }, { origin: '' }])
    expect((await c.post(path, form, headers)).status).toBe(403)
  for (const key of ['', 'x', elsewhere.key!, form.key!.slice(1), d.link(rows[1]!, NOW).split('key=')[1]!])
    expect((await c.post(path, { ...form, key })).status).toBe(403)
  expect((await c.post('/desk/bulk', { ...form, sure: 'yes', of: `${idOf(rows[0]!)}~${form.seen}` })).status).toBe(403)
  expect(
    (await c.ask(path, { method: 'POST', body: `${new URLSearchParams(form)}&note=${'x'.repeat(1e6)}` })).status,
  ).toBe(413)
  now = NOW + DAY
  expect((await c.post(path, form)).status).toBe(403)
  expect(d.dump()).toBe(before)
})

test('a page elsewhere reaches nothing, whatever it calls its form and whatever else it says of itself', async () => {
  const row = fraud(1)
  const d = await startDesk([row])
  const c = d.client()
  const path = `/desk/${idOf(row)}`
  const form = { ...formOf((await c.get(path)).text, path), verdict: 'fraud' }
  const before = d.dump()
  const origin = 'https://evil.example'
  for (const headers of [
    { origin, 'sec-fetch-site': 'same-origin' },
    { origin, 'content-type': 'application/json' },
    { origin, 'content-type': 'x' },
    { origin: 'null', 'sec-fetch-site': 'same-origin' },
  ])
    expect((await c.post(path, form, headers)).status).toBe(403)
  for (const method of ['PUT', 'PATCH', 'DELETE', 'OPTIONS'])
    expect((await c.ask(path, { method, body: '', headers: { origin } })).status).toBe(403)
  expect(d.dump()).toBe(before)
})

test('a form may come without a length, and then has its limit too; one without anything is no failure', async () => {
  const row = fraud(1)
  const d = await startDesk([row])
  const c = d.client()
  const path = `/desk/${idOf(row)}`
  const form = { ...formOf((await c.get(path)).text, path), verdict: 'fraud', note: 'Zoë' }
  const chunked = (text: string) =>
    fetch(`${d.url}${path}`, {
      method: 'POST',
      headers: { origin: d.url },
      body: new Blob([text]).stream(),
      duplex: 'half',
      redirect: 'manual',
    } as RequestInit)
  expect((await chunked(`${new URLSearchParams(form)}&x=${'x'.repeat(1e5)}`)).status).toBe(413)
  expect((await chunked(`${new URLSearchParams(form)}`)).status).toBe(303)
  expect(d.sql('SELECT note FROM reviews')).toEqual([{ note: 'Zoë' }])
  for (const method of ['POST', 'PUT', 'DELETE']) {
    const bare = await fetch(`${d.url}${path}`, { method, headers: { origin: d.url } })
    expect([method, bare.status]).toEqual([method, method === 'POST' ? 403 : 404])
  }
  const broken = connect(Number(new URL(d.url).port), '127.0.0.1')
  broken.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nContent-Length: 9\r\n\r\na`)
  await new Promise((done) =>
    broken
      .resume()
      .on('close', done)
      .on('error', () => {}),
  ) // 5 s are enough for a form
  expect(d.text()).not.toContain('the desk:')
})

test('whatever is in a row or a note, no 11 digits in a row leave, no script and no turned text', async () => {
  const d = await startDesk([fraud(0)])
  const c = d.client()
  const nasty = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.constantFrom('<script>alert(1)</script>', '"><img src=x>', '\u202e4111', '٤١١١١١١١١١١١١١١١', 'a'.repeat(900)),
    fc.bigInt({ min: 10n ** 10n, max: 10n ** 18n }).map(String),
    fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 30 }).map((digits) => digits.join(' ')),
  )
  const clean = (answer: { text: string; headers: Headers }) => {
    const all = `${answer.text}\n${[...answer.headers].map((pair) => pair.join(': ')).join('\n')}`
    expect(all).not.toMatch(/\p{N}{11}/u)
    expect(answer.text).not.toMatch(/<script>alert|<img|\u202e/)
  }
  let n = 1
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(nasty, nasty, nasty), { minLength: 40, maxLength: 40 }),
      nasty,
      async (rows, note) => {
        const written = rows.map(([merchant, trans, last]) => {
          const text = (value: string) => value.toWellFormed().replaceAll('\0', '')
          n++
          return fraud(n, {
            merchant: text(merchant),
            trans_num: `${text(trans).slice(0, 180)}${n}`,
            last: text(last),
            cc_num: LONG_CARD,
          })
        })
        await d.store.insert(written)
        const id = idOf(written[0]!)
        const page = await c.get(`/desk/${id}`)
        clean(page)
        clean(await c.get('/desk'))
        clean(await c.get(d.link(written[0]!, NOW)))
        clean(await c.get(`/desk/search?q=${encodeURIComponent(note.toWellFormed())}`))
        const said = await c.post(`/desk/${id}`, { ...formOf(page.text, `/desk/${id}`), verdict: 'legit', note })
        clean(said)
        clean(await c.get(`/desk/${id}`))
      },
    ),
    { numRuns: 50 },
  )
  expect(n).toBeGreaterThan(2000)
  expect(d.text()).not.toMatch(/\d{11}/)
}, 300_000)

describe('who may', () => {
  test('with a token: nobody without it; it is typed once; ten wrong ones in a minute are enough', async () => {
    let now = NOW
    const d = await startDesk([fraud(1)], { token: 'open-sesame', now: () => now })
    const c = d.client()
    for (const path of ['/desk', '/desk/search', '/desk/search?q=4184', `/desk/${idOf(fraud(1))}`])
      expect((await c.get(path)).location).toBe('/desk/login')
    expect((await c.post('/desk/login', { name: 'anna', password: 'open' })).status).toBe(401)
    expect(
      (await c.post('/desk/login', { name: 'anna', password: 'open-sesame' }, { origin: 'http://evil' })).status,
    ).toBe(403)
    expect((await c.follow(await c.post('/desk/login', { name: 'anna', password: 'open-sesame' }))).text).toContain(
      '1 alarm',
    )
    expect((await c.get('/desk')).text).toContain('You are anna')
    const other = d.client()
    for (let n = 0; n < 9; n++)
      expect((await other.post('/desk/login', { name: 'x', password: `${n}` })).status).toBe(401)
    expect((await other.post('/desk/login', { name: 'x', password: 'open-sesame' })).status).toBe(429)
    now += MINUTE
    expect((await other.post('/desk/login', { name: 'x', password: 'open-sesame' })).status).toBe(303)
    now += DAY
    expect((await other.get('/desk')).location).toBe('/desk/login')
    c.cookies.set('desk', c.cookies.get('desk')!.replace('anna', 'bruno'))
    expect((await c.get('/desk')).status).toBe(303)
  })
  test('a session ends with the token, the password or the role that it was begun with', async () => {
    const entries = [await reviewerEntry('anna', 'correct horse', true), await reviewerEntry('anna', 'battery', false)]
    const [lead, plain] = entries.map((entry) => reviewers.parse(entry))
    const cookie = async (options: Parameters<typeof startDesk>[1], password: string) => {
      const d = await startDesk([fraud(1)], options)
      const c = d.client()
      expect((await c.post('/desk/login', { name: 'anna', password })).status).toBe(303)
      expect((await c.get('/desk')).status).toBe(200)
      return c.cookies.get('desk')!
    }
    const passes = async (value: string, options: Parameters<typeof startDesk>[1]) => {
      const c = (await startDesk([fraud(1)], options)).client()
      c.cookies.set('desk', value)
      return (await c.get('/desk')).status === 200
    }
    const [byToken, byPassword] = [
      await cookie({ token: 'open-sesame' }, 'open-sesame'),
      await cookie({ reviewers: lead! }, 'correct horse'),
    ]
    expect(await passes(byToken, { token: 'open-sesame' })).toBe(true) // another process
    expect(await passes(byToken, { token: 'another one' })).toBe(false)
    expect(await passes(byPassword, { reviewers: lead! })).toBe(true)
    expect(await passes(byPassword, { reviewers: lead!.map((one) => ({ ...one, lead: false })) })).toBe(false)
    expect(await passes(byPassword, { reviewers: plain! })).toBe(false)
    expect(await passes(byPassword, { token: 'open-sesame' })).toBe(false)
  })
  test.for([`${'x'.repeat(59)}😀`, '4111111111111111', '\u202egnp.exe', 'a\0b', '"><script>alert(1)</script>'])(
    'whoever calls himself %j is let in, and no such text leaves',
    async (name) => {
      const row = fraud(1)
      const d = await startDesk([row], { token: 'open-sesame' })
      const c = d.client()
      const entered = await c.post('/desk/login', { name, password: 'open-sesame' })
      expect(entered.status).toBe(303)
      const other = d.client()
      const link = await other.get(d.link(row, NOW))
      const path = `/desk/${idOf(row)}`
      const said = await other.post(path, { ...formOf(link.text, path), verdict: 'fraud', name })
      expect(said.status).toBe(303)
      for (const { text, headers } of [entered, said, await c.get(path), await other.follow(said)])
        expect(`${text}${[...headers].join('\n')}`).not.toMatch(/\p{N}{11}|<script>alert|\u202e/u)
    },
  )
  test('with passwords: each by his own name, which then stands beside the verdict', async () => {
    const entries = [await reviewerEntry('anna', 'correct horse', false), await reviewerEntry('bruno', 'battery', true)]
    const d = await startDesk([fraud(1)], { reviewers: reviewers.parse(entries.join(',')) })
    const c = d.client()
    for (const [name, password] of [
      ['anna', 'battery'],
      ['carl', 'battery'],
      ['', 'battery'],
      ['anna', ''],
    ] as const)
      expect((await c.post('/desk/login', { name, password })).status).toBe(401)
    await c.post('/desk/login', { name: 'anna', password: 'correct horse' })
    const path = `/desk/${idOf(fraud(1))}`
    await c.post(path, { ...formOf((await c.get(path)).text, path), verdict: 'unsure' })
    expect(d.sql('SELECT reviewed_by FROM predictions')).toEqual([{ reviewed_by: 'anna' }])
  })
  test('a lead imports verdicts, a reviewer does not', async () => {
    const entries = [await reviewerEntry('anna', 'correct horse', false), await reviewerEntry('bruno', 'battery', true)]
    const d = await startDesk([fraud(1)], { reviewers: reviewers.parse(entries.join(',')) })
    const [anna, bruno] = [d.client(), d.client()]
    await anna.post('/desk/login', { name: 'anna', password: 'correct horse' })
    await bruno.post('/desk/login', { name: 'bruno', password: 'battery' })
    const form = formOf((await bruno.get('/desk/labels')).text, '/desk/labels')
    const csv = 'trans_num,verdict\ntrans-1,chargeback\n4992346398065154184,fraud\n'
    expect((await anna.get('/desk/labels')).status).toBe(403)
    expect((await anna.post('/desk/labels', { ...form, csv })).status).toBe(403)
    expect((await bruno.post('/desk/labels', { key: '', csv })).status).toBe(403)
    expect(d.sql('SELECT * FROM reviews')).toEqual([])
    const done = await bruno.post('/desk/labels', { ...form, csv })
    expect(done.text).toContain('1 verdict in the database')
    expect(done.text).toContain('…4184: is not in the database')
    expect(d.sql('SELECT reviewer, via FROM reviews')).toEqual([{ reviewer: 'bruno', via: 'import' }])
    expect((await anna.get(`/desk/${idOf(fraud(1))}`)).text).toMatch(/bruno, at a time that nobody knows \(import\)/)
    for (const [wrong, said] of [
      ['trans_num;verdict\ntrans-1;fraud\n', 'wants a first line with trans_num,verdict'],
      ['trans_num,verdict\n"trans-1"x,fraud\n', 'line 2 of the CSV has a quote where none can be'],
      ['', 'wants a first line'],
    ] as const) {
      const { status, text } = await bruno.post('/desk/labels', { ...form, csv: wrong })
      expect(status).toBe(200)
      expect(text).toContain(said)
    }
    expect(d.text()).not.toContain('the desk:')
  })
  test('a name in a header is believed from the proxy alone', async () => {
    const header = { 'x-forwarded-email': 'anna@example.com' }
    const proxied = await startDesk([fraud(1)], { userHeader: 'X-Forwarded-Email', proxies: ['127.0.0.1'] })
    expect((await proxied.client().ask('/desk', { headers: header })).text).toContain('You are anna@example.com')
    expect((await proxied.client().get('/desk')).status).toBe(403)
    const direct = await startDesk([fraud(1)], { userHeader: 'X-Forwarded-Email', proxies: ['10.0.0.2'] })
    expect((await direct.client().ask('/desk', { headers: header })).status).toBe(403)
  })
  test('with nothing set: this machine, by its own name, and not through a proxy on it', async () => {
    const d = await startDesk([fraud(1)])
    expect((await d.client().get('/desk')).status).toBe(200)
    for (const headers of [{ 'x-forwarded-for': '1.2.3.4' }, { forwarded: 'for=1.2.3.4' }])
      expect((await d.client().ask('/desk', { headers })).status).toBe(403)
    const open = await startDesk([fraud(1)], { local: false })
    expect((await open.client().get('/desk')).status).toBe(403)
    expect((await open.client().get(open.link(fraud(1), NOW))).status).toBe(200)
  })
})

test('the front page of the server has the last payments for whoever may see the desk, and for nobody else', async () => {
  const rows = [fraud(1, { cc_num: LONG_CARD }), prediction(2, { score: 0.0123, sampled: 0.01, amt: 7.77 })]
  const d = await startDesk(rows, { token: 'open-sesame' })
  const c = d.client()
  const stranger = await c.get('/')
  expect(stranger.status).toBe(200)
  expect(stranger.text).not.toMatch(/\$11\.00|<meter/)
  await c.post('/desk/login', { name: 'anna', password: 'open-sesame' })
  const text = await waitFor('the last payments', async () => /<ol>.*/s.exec((await c.get('/')).text)?.[0])
  expect(text).toMatch(/\$11\.00.*<meter[^>]*value="0\.900"/s)
  expect(text).toContain('$7.77')
  expect(text).not.toMatch(/1\.2 %|\d{11}/) // what the model says of an audited one is not to be known here either
})

test('a database that cannot be asked is said, and the page comes when it can', async () => {
  const d = await startDesk([fraud(1)])
  d.sql('ALTER TABLE predictions RENAME TO elsewhere')
  const failed = await d.client().get('/desk')
  expect(failed.status).toBe(503)
  expect((await d.client().get('/')).status).toBe(200)
  d.sql('ALTER TABLE elsewhere RENAME TO predictions')
  expect((await d.client().get('/desk')).status).toBe(200)
  await waitFor('the last payments', async () => (await d.client().get('/')).text.includes('$11.00'))
})
