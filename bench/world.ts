import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { history } from '../src/simulate/history.ts'
import { scriptedSmtp, transNum } from '../test/notify/smtp-server.ts'
import { body, httpServer } from '../test/rows.ts'

/** ms that the model takes for a request and for each row of it; the share of that in which it serves nobody else */
export type Cost = { request: number; row: number; exclusive: number }

const TEMPLATES = [...history({ rows: 1000, seed: 1 })]
const FIRST = Date.UTC(2026, 0, 2)
/** The i-th row of the producer, always the same. */
export const rowOf = (i: number) => ({
  ...TEMPLATES[i % TEMPLATES.length]!,
  trans_num: createHash('md5').update(`${i}`).digest('hex'),
  current_time: FIRST + i,
})
export const isFraud = (num: string, share: number) => Number.parseInt(num.slice(0, 6), 16) < share * 0x1000000
const now = () => performance.now()

/** Producer, model server and mail server, on the wire; `share` of the rows are frauds. Each row is timed on its way. */
export async function openWorld(cost: Cost, share: number, perCall = 1) {
  /** By row, in ms: when the producer had it, how long the model had it, when its mail began and was accepted. */
  const times = { had: [] as number[], model: [] as number[], from: [] as number[], accepted: [] as number[] }
  const state = { share, offered: 0, sent: 0, calls: 0, requests: 0, times, mails: new Map<number, number>() }
  const numbers = new Map<string, number>()
  const held: ServerResponse[] = []
  await using opening = new AsyncDisposableStack()

  function serve(response: ServerResponse) {
    if (response.destroyed) return
    if (state.sent === state.offered) return held.push(response)
    const count = Math.min(perCall, state.offered - state.sent)
    const rows = Array.from({ length: count }, (_, i) => rowOf(state.sent + i))
    state.sent += count
    return response.end(body(rows))
  }
  const producer = opening.use(
    await httpServer((_request, response) => {
      state.calls++
      serve(response)
    }),
  )

  let turn = Promise.resolve()
  let debt = 0 // ms that timers have come too late
  async function work(ms: number) {
    const before = turn
    const { promise, resolve } = Promise.withResolvers<void>()
    turn = promise
    await before
    const began = now()
    if (ms - debt >= 1) await sleep(Math.floor(ms - debt))
    debt = Math.max(-20, Math.min(20, debt + now() - began - ms))
    resolve()
  }
  const model = opening.use(
    await httpServer(async ({ text }, response) => {
      const began = now()
      model.received.length = 0
      state.requests++
      const { columns, data } = JSON.parse(text).dataframe_split as { columns: string[]; data: string[][] }
      const at = columns.indexOf('trans_num')
      const predictions = data.map((row) => (isFraud(row[at]!, state.share) ? 1 : 0))
      const ms = cost.request + cost.row * data.length
      if (ms > 0) await work(Math.max(0, ms * cost.exclusive - (now() - began)))
      if (cost.exclusive < 1) await sleep(ms * (1 - cost.exclusive))
      for (const row of data) {
        const i = numbers.get(row[at]!)
        if (i !== undefined) times.model[i] = (times.model[i] ?? 0) + now() - began
      }
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ predictions }))
    }),
  )

  const began = new Map<number, number>() // the mail of each session
  const smtp = await scriptedSmtp(({ verb, session, raw }) => {
    if (verb === 'MAIL') began.set(session, now())
    if (verb !== 'dot') return undefined
    const i = numbers.get(transNum(raw)) ?? -1
    times.from[i] = began.get(session)!
    times.accepted[i] = now()
    state.mails.set(i, (state.mails.get(i) ?? 0) + 1)
    smtp.seen.length = 0
    return undefined
  })
  opening.use(smtp)
  const opened = opening.move()

  return {
    state,
    model: model.url.href,
    /** What the worker is told; nothing holds alarms back. */
    env: {
      NODE_ENV: 'production',
      PRODUCER_URL: `${producer.url.href}current-transactions`,
      PRODUCER_RATE_PER_MIN: '1000000',
      MODEL_URL: model.url.href,
      MODEL_FRAUD_VALUE: '1',
      SMTP_URL: `smtp://127.0.0.1:${smtp.server.port}`,
      ALERT_FROM: 'worker@example.com',
      ALERT_TO: 'analyst@example.com',
      ALERT_BURST: '1000000',
      ALERT_DAILY_LIMIT: '1000000',
      ALERT_BREAKER: 'off',
      DISK_RESERVE_MB: '0',
    },
    /** The producer has so many rows more. */
    offer(count: number) {
      for (let i = 0; i < count; i++) {
        numbers.set(rowOf(state.offered).trans_num, state.offered)
        times.had[state.offered++] = now()
      }
      for (const response of held.splice(0)) serve(response)
    },
    /** Nothing was judged or mailed yet. */
    forget() {
      Object.assign(times, { model: [], from: [], accepted: [] })
      state.mails.clear()
      state.requests = 0
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}
export type World = Awaited<ReturnType<typeof openWorld>>
