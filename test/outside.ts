import { DatabaseSync } from 'node:sqlite'
import { simpleParser } from 'mailparser'
import { SMTPServer } from 'smtp-server'
import { parse } from '../src/io/json.ts'
import { body, httpServer, row } from './rows.ts'

type Rows = Record<string, unknown>[]

/** A producer that hands out rows, one a call, then 503. `down` drops every connection. */
export async function fakeProducer(rows: Rows) {
  const state = { next: 0, down: false, calls: 0 }
  const server = await httpServer((_received, response) => {
    state.calls++
    if (state.down) return response.destroy()
    const next = rows[state.next++]
    if (next) return response.end(body([next]))
    response.writeHead(503, { 'content-type': 'text/html' })
    response.end('<html>gone</html>')
  })
  return { ...server, state }
}

/** A model server that takes amounts from 1000 on for fraud. `down` drops every connection. */
export async function fakeModel() {
  const state = { down: false, seen: [] as unknown[][], columns: [] as string[] }
  const server = await httpServer(({ text }, response) => {
    if (state.down) return response.destroy()
    const { dataframe_split: frame } = parse(text) as unknown as {
      dataframe_split: { columns: string[]; data: unknown[][] }
    }
    state.columns = frame.columns
    state.seen.push(...frame.data)
    const amt = frame.columns.indexOf('amt')
    response.end(JSON.stringify({ predictions: frame.data.map((values) => (Number(values[amt]) >= 1000 ? 1 : 0)) }))
  })
  return { ...server, state }
}

/** A real SMTP server that keeps every mail as a person can read it. `down` turns every session away. */
export async function fakeSmtp() {
  const state = { down: false, mails: [] as string[] }
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onConnect: (_session, done) => done(state.down ? Object.assign(new Error('not now'), { responseCode: 421 }) : null),
    onData(stream, _session, done) {
      simpleParser(stream).then(({ subject, text, html, attachments }) => {
        state.mails.push([subject, text, html, ...attachments.map(({ content }) => content)].join('\n'))
        done()
      }, done)
    },
  })
  server.on('error', () => {}) // a killed worker resets its sessions
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.server.address() as { port: number }
  return {
    url: `smtp://127.0.0.1:${port}`,
    state,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  }
}

/** All three systems outside, the settings that lead to them, and a look at what was recorded. */
export async function outside(rows: Rows, folder: string) {
  const producer = await fakeProducer(rows)
  const model = await fakeModel()
  const smtp = await fakeSmtp()
  const env = {
    NODE_ENV: 'production',
    PRODUCER_URL: `${producer.url.href}current-transactions`,
    PRODUCER_RATE_PER_MIN: '600000',
    MODEL_URL: model.url.href,
    MODEL_NAME: 'rf/7',
    SMTP_URL: smtp.url,
    ALERT_FROM: 'fraud@example.com',
    ALERT_TO: 'analyst@example.com',
    ALERT_BURST: '1000', // every fifth is a fraud
    ALERT_BREAKER: 'off',
    TOPICS_URL: `sqlite:${folder}/topics.db`,
    DATABASE_URL: `sqlite:${folder}/fraud.db`,
  }
  return {
    producer: producer.state,
    model: model.state,
    smtp: smtp.state,
    env,
    recorded: () => recorded(`${folder}/fraud.db`),
    mailed: (trans_num: unknown) =>
      smtp.state.mails.filter((mail) => new RegExp(`\\b${trans_num}\\b`).test(mail)).length,
    async [Symbol.asyncDispose]() {
      await producer[Symbol.asyncDispose]()
      await model[Symbol.asyncDispose]()
      await smtp[Symbol.asyncDispose]()
    },
  }
}

/** The rows of `predictions`, integers exact; none while there is no table yet. */
export function recorded(file: string): Record<string, unknown>[] {
  try {
    using db = disposable(new DatabaseSync(file, { readOnly: true }))
    const select = db.prepare('SELECT * FROM predictions ORDER BY +event_time') // by no index: one may be damaged
    select.setReadBigInts(true)
    return select.all()
  } catch {
    return []
  }
}

export const disposable = (db: DatabaseSync) => Object.assign(db, { [Symbol.dispose]: () => db.close() })

/** Rows of which every fifth is a fraud to the fake model. */
export const someRows = (count: number) =>
  Array.from({ length: count }, (_, n) => row(n, n % 5 === 0 ? { amt: 1000 + n } : {}))
export const isFraud = (candidate: Record<string, unknown>) => Number(candidate.amt) >= 1000
