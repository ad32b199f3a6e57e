import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { exportRows, openExport } from '../../src/commands/export.ts'
import { postgresStore } from '../../src/engines/postgres/store.ts'
import { csvRows } from '../../src/io/csv.ts'
import { exportLabels, importLabels } from '../../src/review/labels.ts'
import { idOf, type Reviews, type Saying } from '../../src/review/reviews.ts'
import type { Prediction } from '../../src/transaction.ts'
import { client, formOf, fraud, openRows } from '../desk/place.ts'
import { startPostgres } from '../postgres.ts'
import { freePort, LONG_CARD, prediction, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'

const saying = (p: Prediction, changes: Partial<Saying> = {}): Saying => ({
  ...{ trans_num: p.trans_num, event_time: p.event_time, verdict: 'fraud', note: null, reviewer: 'anna' },
  ...{ via: 'page', at: 1_767_400_000_000, ...changes },
})

const rowsOf = async (text: string) => (await Array.fromAsync(csvRows([text]))).flat()
/** What is said of it, and how much counts. */
async function imported(reviews: Reviews, text: string, reviewer: string) {
  const lines: string[] = []
  const tell = (line: string) => void lines.push(line)
  return { ...(await importLabels(reviews, [text], { reviewer, tell })), lines }
}
const EXPORT = ['export', '--validated', '--since-last', '--into', 'new.csv']
const ALL = { kind: 'validated', from: 0, to: Number.MAX_SAFE_INTEGER } as const
async function exported(reviews: Reviews, wanted: Parameters<typeof exportRows>[1] = ALL) {
  let text = ''
  const lines = await exportRows(reviews, wanted, 'it', {
    async write(part) {
      text += part
    },
    done: async () => {},
  })
  return { text, lines, rows: await rowsOf(text) }
}

describe('export', () => {
  test('is the training file to the byte: 19 digits, floats as pandas writes them, what was said as is_fraud', async () => {
    const rows = [
      prediction(2, { cc_num: LONG_CARD, amt: 10, lat: 39, merchant: 'fraud_"Söhne", =1+1', is_fraud: 1 }),
      prediction(1, { amt: 0.00001234, merch_long: -1e-7, gender: null }),
    ]
    const { reviews } = await openRows([...rows, prediction(3)])
    await reviews.say([saying(rows[0]!, { verdict: 'legit' }), saying(rows[1]!)])
    const { text } = await exported(reviews)
    expect(text).toBe(
      ',trans_date_trans_time,cc_num,merchant,category,amt,first,last,gender,street,city,state,zip,lat,long,city_pop,job,dob,trans_num,unix_time,merch_lat,merch_long,is_fraud\n' +
        `,2026-01-02 03:04:06,4000000000001,"fraud_Kutch, Hermiston and Farrell",gas_transport,1.234e-05,Ada,O'Neil,,12 Main Street,Springfield,IL,62701,39.7817,-89.6501,114394,"Engineer, civil",1980-02-29,trans-1,1767323046,39.9,-1e-07,1\n` +
        `,2026-01-02 03:04:07,${LONG_CARD},"fraud_""Söhne"", =1+1",gas_transport,10.0,Ada,O'Neil,F,12 Main Street,Springfield,IL,62701,39.0,-89.6501,114394,"Engineer, civil",1980-02-29,trans-2,1767323047,39.9,-89.5,0\n`,
    )
    expect((await exported(reviews)).text).toBe(text)
  })
  test('leaves out what the trainer cannot read, and says what a model would make of the rest', async () => {
    const rows = [prediction(1), prediction(2, { zip: null }), prediction(3, { sampled: 0.1 })]
    const { reviews } = await openRows(rows)
    await reviews.say([saying(rows[0]!), saying(rows[1]!)])
    const some = await exported(reviews)
    expect(some.rows).toHaveLength(2)
    expect(some.lines.join('\n')).toMatch(
      /it: 1 row, 1 of fraud \(100 %; .*0 audited\n1 row left out.*\nwarning: all of it is 6 years or so after.*unix_time.*MODEL_FEATURES.*AUDIT_PER_DAY.*\nwarning: none of it is audited/,
    )
    await reviews.say([saying(rows[2]!, { verdict: 'legit' })])
    expect((await exported(reviews)).lines.join('\n')).toMatch(/2 rows, 1 of fraud.*1 audited(?!.*none of it)/s)
  })
  test('may be of a time, of what was said since the last one, or of the producer too', async () => {
    const rows = [prediction(1, { is_fraud: 1 }), prediction(2), prediction(3, { is_fraud: null })]
    const { reviews, dir } = await openRows(rows)
    await reviews.say([saying(rows[0]!, { verdict: 'legit' }), saying(rows[2]!)])
    const numbers = async (wanted: Parameters<typeof exportRows>[1]) =>
      (await exported(reviews, wanted)).rows.slice(1).map((row) => [row[18], row.at(-1)].join(' '))
    expect(await numbers({ ...ALL, to: rows[1]!.event_time })).toEqual(['trans-1 0'])
    expect(await numbers({ ...ALL, kind: 'truth' })).toEqual(['trans-1 0', 'trans-2 0', 'trans-3 1'])
    await exported(reviews)
    await reviews.say([saying(rows[1]!), saying(rows[2]!, { verdict: 'unsure' })])
    await numbers({ ...ALL, to: rows[1]!.event_time }) // which has not all of it, and is not the last one
    const broken = { write: async () => {}, done: () => Promise.reject(new Error('the disk is full')) }
    await expect(exportRows(reviews, ALL, 'it', broken)).rejects.toThrow('full')
    const into = dir.file('out.csv')
    writeFileSync(`${into}.part`, 'of an interrupted one', { mode: 0o644 })
    const own = { topics: { engine: 'sqlite', path: 'a' }, database: { engine: 'sqlite', path: 'b' } } as const
    const asked = { ...reviews, rows: () => Promise.reject(new Error('the database is away')) }
    const tried = async () => {
      await using output = await openExport(into, own)
      await exportRows(asked, ALL, into, output)
    }
    await expect(tried()).rejects.toThrow('away')
    expect([existsSync(into), existsSync(`${into}.part`)]).toEqual([false, false])
    expect(await numbers({ ...ALL, since: (await reviews.lastExport())! })).toEqual(['trans-2 1'])
  })
  test('has nothing that is said while it is made: the next one has', async () => {
    const rows = [prediction(1), prediction(2), prediction(3)]
    const { reviews } = await openRows(rows)
    await reviews.say([saying(rows[0]!), saying(rows[2]!)])
    const meanwhile: Reviews = {
      ...reviews,
      async rows(...wanted) {
        await reviews.say([saying(rows[1]!), saying(rows[2]!, { verdict: 'legit', at: 1_767_400_000_001 })])
        return reviews.rows(...wanted)
      },
    }
    const numbers = ({ rows }: Awaited<ReturnType<typeof exported>>) =>
      rows.slice(1).map((row) => `${row[18]} ${row.at(-1)}`)
    expect(numbers(await exported(meanwhile))).toEqual(['trans-1 1'])
    const since = (await reviews.lastExport())!
    expect(numbers(await exported(reviews, { ...ALL, since }))).toEqual(['trans-2 1', 'trans-3 0'])
  })
})

test.for(['SQLite', 'PostgreSQL'])(
  'while a worker takes verdicts, one export after the other has each of them once, in %s',
  { timeout: 240_000 },
  async (engine) => {
    await using server = engine === 'PostgreSQL' ? await startPostgres() : undefined
    const rows = Array.from({ length: 100 }, (_, n) => fraud(n))
    const { dir, file } = await openRows(rows)
    const url = await server?.database()
    if (url) {
      const store = postgresStore(url)
      await store.insert(rows).finally(() => store.close())
    }
    const port = await freePort()
    const settings = { DATABASE_URL: url?.href ?? `sqlite:${file}`, PORT: `${port}`, STAGES: 'record' }
    await using worker = startWorker(dir.path, settings)
    const c = client(`http://127.0.0.1:${port}`)
    await waitFor('the desk', async () => (await c.get('/desk').catch(() => undefined))?.status === 200)
    const exported: string[] = []
    const run = async () => {
      await using command = startWorker(dir.path, { ...settings, PORT: '0' }, ...EXPORT)
      expect([(await command.end).code, command.text()]).toEqual([0, expect.stringContaining('new.csv: ')])
      const [, ...lines] = await rowsOf(readFileSync(dir.file('new.csv'), 'utf8'))
      exported.push(...lines.map((line) => line[18]!))
    }
    let all = false
    const saying = async () => {
      for (const path of rows.map((row) => `/desk/${idOf(row)}`)) {
        const form = formOf((await c.get(path)).text, path)
        expect((await c.post(path, { ...form, verdict: 'fraud' })).status).toBe(303)
      }
      all = true
    }
    const said = saying()
    while (!all) await run()
    await said
    await run()
    await run()
    expect(exported.toSorted()).toEqual(rows.map((row) => row.trans_num).toSorted())
    worker.kill('SIGTERM')
    expect((await worker.end).code).toBe(0)
  },
)

describe('labels', () => {
  test('that were exported are put back after the database was lost, those of SQL alone too', async () => {
    const rows = [prediction(1), prediction(2), prediction(3), prediction(4)]
    const before = await openRows(rows)
    await before.reviews.say([
      saying(rows[0]!, { note: 'a "note",\nof two lines' }),
      saying(rows[0]!, { verdict: 'legit', reviewer: 'bruno', at: 7 }),
      saying(rows[1]!, { verdict: 'unsure' }),
      saying(rows[3]!),
      saying(rows[3]!, { verdict: 'withdrawn', at: 9 }),
    ])
    before.sql(
      "UPDATE predictions SET fraud_confirmed = 1, reviewed_at = 5, reviewed_by = 'me' WHERE trans_num = 'trans-3'",
    )
    const text = (await Array.fromAsync(exportLabels(before.reviews))).join('')
    const after = await openRows(rows)
    for (let twice = 0; twice < 2; twice++)
      expect(await imported(after.reviews, text, 'x')).toEqual({ verdicts: 6, wrong: 0, lines: [] })
    const labels = 'SELECT trans_num, fraud_confirmed, reviewed_at, reviewed_by FROM predictions ORDER BY event_time'
    expect(after.sql(labels)).toEqual(before.sql(labels))
    expect(after.sql('SELECT count(*) AS n FROM reviews')).toEqual([{ n: 6 }])
  })
  test('of chargebacks count for each sighting, once; what is unknown or makes no sense is listed', async () => {
    const twice = prediction(1)
    const { reviews, sql } = await openRows([twice, prediction(2, { trans_num: twice.trans_num }), prediction(3)])
    const text = `trans_num,verdict,at\r\n${twice.trans_num},chargeback,2026-01-20\r\nnowhere,fraud,\r\n4992346398065154184,fraud,\r\ntrans-3,perhaps,2026-01-20\r\n`
    for (let again = 0; again < 2; again++) {
      const { verdicts, lines, wrong } = await imported(reviews, text, 'bank')
      expect(lines).toEqual([
        'nowhere: is not in the database',
        '…4184: is not in the database',
        'line 5: wants a trans_num, a verdict (fraud, legit, unsure, withdrawn), and at and event_time as times (2026-11-20, 2026-11-20 10:00+01:00) or nothing',
      ])
      expect([verdicts, wrong]).toEqual([2, 3])
    }
    expect(
      sql('SELECT fraud_confirmed AS f, reviewed_at AS at, reviewed_by AS who FROM predictions ORDER BY event_time'),
    ).toEqual([
      { f: 1, at: Date.UTC(2026, 0, 20), who: 'bank' },
      { f: 1, at: Date.UTC(2026, 0, 20), who: 'bank' },
      { f: null, at: null, who: null },
    ])
    for (const [csv, line] of [
      [
        'a,b\n1,2\n',
        'the file wants a first line with trans_num,verdict and perhaps event_time, at, reviewer, via, note, with commas between them',
      ],
      [
        'trans_num,verdict\n"x"y,fraud\n',
        'line 2 of the CSV has a quote where none can be: nothing is taken from there on',
      ],
    ] as const)
      expect(await imported(reviews, csv, 'x')).toEqual({ verdicts: 0, wrong: 1, lines: [line] })
  })
  test.for([
    ['2026-01-20', Date.UTC(2026, 0, 20)],
    ['2026-01-20 10:00', Date.UTC(2026, 0, 20, 10)],
    ['2026-01-20T10:00:00.5+01:00', Date.UTC(2026, 0, 20, 9, 0, 0, 500)],
    ['1768867200', Date.UTC(2026, 0, 20)], // in seconds
    ['1768867200000', Date.UTC(2026, 0, 20)],
    ['01/20/2026', undefined], // of which country?
    ['20 Jan 2026', undefined],
    ['2026-13-45', undefined],
  ] as const)('at as %s is %s', async ([at, time]) => {
    const { reviews, sql } = await openRows([prediction(1)])
    const { wrong } = await imported(reviews, `trans_num,verdict,at\ntrans-1,fraud,${at}\n`, 'bank')
    expect(wrong).toBe(time === undefined ? 1 : 0)
    expect(sql('SELECT reviewed_at AS at FROM predictions')).toEqual([{ at: time ?? null }])
  })
  test('from elsewhere hold no card number, whatever they came with, and a time that is none is said', async () => {
    const { reviews, sql } = await openRows([prediction(1)])
    const text = `trans_num,verdict,note,reviewer\ntrans-1,fraud,"card 4992346398065154184,\n\u202e gone",4992 3463 9806 5154 184\n`
    expect((await imported(reviews, text, 'bank')).wrong).toBe(0)
    expect(sql('SELECT note, reviewer FROM reviews')).toEqual([{ note: 'card …4184, gone', reviewer: '…4184' }])
    const lines = (await imported(reviews, 'trans_num,verdict,event_time\ntrans-1,fraud,abc\n', 'bank')).lines
    expect(lines[0]).toMatch(/^line 2: wants .*event_time/)
  })
})

test('as commands: alarms lists, label imports and prints, export writes a file for its owner alone, desk makes an entry', async () => {
  const row = prediction(1, { prediction: 1, cc_num: LONG_CARD })
  const { dir, file } = await openRows([row, prediction(2)])
  const settings = { DATABASE_URL: `sqlite:${file}` }
  const run = async (...args: string[]) => {
    await using command = startWorker(dir.path, settings, ...args)
    const { code } = await command.end
    return { code, text: command.text() }
  }
  expect((await run('alarms')).text).toMatch(/\$11\.00 .*\*4184.*\n1 open alarm, \$11\.00; times are UTC\n$/)
  writeFileSync(dir.file('labels.csv'), 'trans_num,verdict\ntrans-1,fraud\ntrans-9,fraud\n')
  expect(await run('label', 'import', 'labels.csv')).toEqual({
    code: 1,
    text: 'trans-9: is not in the database\n1 verdict in the database\n',
  })
  expect((await run('label', 'export')).text).toContain('trans-1,1767323046678,fraud,0,import,import,\n')
  expect((await run('export', '--validated', '--into', 'out.csv')).code).toBe(0)
  expect(readFileSync(dir.file('out.csv'), 'utf8').split('\n')[1]).toContain(`,${LONG_CARD},`)
  expect(statSync(dir.file('out.csv')).mode & 0o777).toBe(0o600)
  expect((await run('export', '--into', 'x.csv')).code).toBe(2)
  for (const [into, said] of [
    ['.', '--into: . is a folder, wants a file in it'],
    ['nowhere/x.csv', '--into: cannot write nowhere/x.csv'],
    [file, "is the worker's own, wants another file"],
  ] as const) {
    const { code, text } = await run('export', '--validated', '--into', into)
    expect([code, text]).toEqual([1, expect.stringContaining(said)])
  }
  expect(readdirSync(dir.path).filter((name) => name.includes('part'))).toEqual([])
  const gone = await run('label', 'import', 'nowhere.csv')
  expect([gone.code, gone.text]).toEqual([1, expect.stringMatching(/^cannot read nowhere\.csv, wants a CSV: ENOENT/)])
  expect((await run('alarms')).text).toContain('0 open alarms') // and the database is whole
  const entry = execFileSync(process.execPath, ['src/main.ts', 'desk', 'password', 'anna', '--lead'], {
    input: 'correct horse\n',
  })
  expect(String(entry)).toMatch(/^anna:[\w-]{22}\.[\w-]{43}:lead\n$/)
})
