import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { Random } from '../../src/simulate/random.ts'
import { hangUp, reset, scriptedSmtp } from '../notify/smtp-server.ts'
import { body, httpServer } from '../rows.ts'
import { modelServer, type Saying } from '../score/server.ts'
import { idOf, isFraud, junk, newRow, type Row } from './rows.ts'

/** What a killer may wait for: each is a moment at which something has left, or has come. */
export const MOMENTS = [
  'rows are out',
  'the model is asked',
  'the dot is in',
  'the 250 is out',
  'the post is in',
] as const
export type Moment = (typeof MOMENTS)[number]
/** What breaks of it, and how. */
const WAYS = {
  producer: ['429', '500', 'page', 'cut', 'half', 'junk'],
  model: ['503', '500', 'cut', 'junk', 'flap', 'refuse'],
  mail: ['421', 'reset', '451', 'cut'],
  webhook: ['503', 'cut'],
} as const
type System = keyof typeof WAYS
export const SYSTEMS = Object.keys(WAYS) as System[]

/**
 * The producer, the model, the mail server and the webhook, on the wire. Now and then one of them fails for one request;
 * `break` has it fail for longer. `most`: rows in one body. What they hand out and take is noted: it is the truth that the worker is held to.
 */
export async function openWorld(random: Random, seed: number, most = 12) {
  const moments = new EventEmitter().setMaxListeners(0)
  const broken = new Map<System, string>()
  const { bodies, answers } = junk(seed, 500)
  const counts = { calls: 0, asked: 0, junkBodies: 0, junkAnswers: 0, flaps: 0, repeats: 0 }
  let [frauds, healed] = [0.05, false]
  const sent = new Map<string, Row>()
  const cards = new Map<string, string>()
  const numbers = new Set<string>()
  const recent: Row[] = []
  const excused = new Set<string>()
  const unposted = new Set<string>()
  let last: Row[] = [] // may be on their way: owed from the next call on
  const altered = new Set<string>()
  let labels = 0
  const posts: { key: string; body: string }[] = []
  const way = (system: System, share: number) =>
    broken.get(system) ?? (!healed && random.uniform() < share ? random.pick(WAYS[system]) : undefined)
  const happened = (moment: Moment) => moments.emit(moment)

  function handOut(response: ServerResponse, cut: boolean) {
    const rows = Array.from({ length: random.integer(1, most) }, () => newRow(random, frauds))
    const again = recent.at(-random.integer(1, 50))
    if (again && random.uniform() < 0.1) {
      counts.repeats++
      rows.push(again)
    }
    const text = body(rows, { doubled: random.uniform() < 0.8 })
    if (cut) {
      response.writeHead(200, { 'content-length': Buffer.byteLength(text) })
      return response.write(text.slice(0, text.length / 2), () => response.destroy())
    }
    last = rows.filter((one) => one !== again)
    for (const one of last) {
      sent.set(idOf(one), one)
      cards.set(one.trans_num, String(one.cc_num))
      numbers.add(String(one.cc_num))
    }
    recent.push(...last)
    recent.splice(0, recent.length - 50)
    return response.end(text, () => happened('rows are out'))
  }

  await using opening = new AsyncDisposableStack()
  const producer = opening.use(
    await httpServer((_request, response) => {
      counts.calls++
      last = []
      const how = healed ? 'over' : way('producer', 0.02)
      if (how === undefined || how === 'half') return handOut(response, how === 'half')
      if (how === 'cut') return response.destroy()
      if (how === 'junk') counts.junkBodies++
      if (how === 'junk') return response.end(random.pick(bodies))
      if (how === 'page') return response.setHeader('content-type', 'text/html').end('<title>Application Error</title>')
      return response.writeHead(how === '500' ? 500 : 429).end('{"error":"Rate limit exceeded: 5 per 1 minute"}')
    }),
  )
  const model = opening.use(
    await modelServer((rows): Saying => {
      counts.asked++
      happened('the model is asked')
      for (const one of rows) {
        if (cards.get(String(one.trans_num)) !== String(one.cc_num)) altered.add(String(one.trans_num))
        if ('is_fraud' in one) labels++
      }
      const how = way('model', 0.03)
      if (how === 'cut') return 'hang up'
      if (how === 'junk') {
        counts.junkAnswers++
        return { status: 200, text: random.pick(answers) }
      }
      const refusal = { status: 400, text: '{"error_code":"BAD_REQUEST","message":"Failed to predict"}' }
      if (how === 'refuse') return refusal
      if (how === '500' || how === '503') return { status: Number(how), text: 'upstream', type: 'text/plain' }
      if (how === 'flap' && random.uniform() < 0.4) {
        counts.flaps++
        return refusal
      }
      return { predictions: rows.map((one) => (isFraud(one) ? 1 : 0)) }
    }),
  )
  const smtp = opening.use(
    await scriptedSmtp(({ verb }) => {
      const how = verb === 'greeting' || verb === 'dot' ? way('mail', verb === 'dot' ? 0.03 : 0) : undefined
      if (verb === 'greeting') return how === '421' ? '421 4.3.2 not now' : how === 'reset' ? reset : undefined
      if (verb !== 'dot') return undefined
      happened('the dot is in')
      if (how === '451') return '451 4.7.1 try again later'
      if (how === 'cut') return hangUp
      setImmediate(() => happened('the 250 is out'))
      return undefined
    }),
  )
  const webhook = opening.use(
    await httpServer(({ request, text }, response) => {
      const how = way('webhook', 0.03)
      if (how === '503') return response.writeHead(503).end()
      posts.push({ key: String(request.headers['idempotency-key']), body: text })
      happened('the post is in')
      return how === 'cut' ? response.destroy() : response.writeHead(204).end()
    }),
  )
  const opened = opening.move()
  return {
    ...{ moments, counts, posts, altered, sent },
    labels: () => labels,
    isCard: (number: string) => numbers.has(number),
    mails: () => smtp.seen,
    env: {
      NODE_ENV: 'production',
      PRODUCER_URL: `${producer.url.href}current-transactions`,
      PRODUCER_RATE_PER_MIN: '3000',
      MODEL_URL: model.url.href,
      MODEL_NAME: 'campaign/1',
      SMTP_URL: `smtp://127.0.0.1:${smtp.server.port}`,
      ALERT_FROM: 'fraud@example.com',
      ALERT_TO: 'analyst@example.com',
      ALERT_WEBHOOK_URL: webhook.url.href,
      ALERT_DAILY_LIMIT: '1000000',
      ALERT_BREAKER: 'off', // a storm of frauds is drawn here, and no news
    },
    break(system: System) {
      broken.set(system, random.pick(WAYS[system]))
      return () => broken.delete(system)
    },
    storm(share: number) {
      frauds = share
    },
    /** What was handed out so far may have come before the webhook. */
    postsFromNow() {
      for (const one of sent.values()) unposted.add(one.trans_num)
    },
    unposted,
    /** Whoever was asked last is dead: what it was given may be gone with it. */
    killed() {
      for (const one of last) excused.add(idOf(one))
      last = []
    },
    /** From now on nothing fails any more, and no rows come. */
    heal() {
      healed = true
      broken.clear()
    },
    owed: () => [...sent].flatMap(([id, one]) => (excused.has(id) ? [] : [one])),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}
