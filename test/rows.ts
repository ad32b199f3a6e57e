import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { stringify } from '../src/io/json.ts'
import type { Records, TopicName, Topics, Writes } from '../src/topic/topic.ts'
import { type Prediction, type Transaction, toTransaction } from '../src/transaction.ts'

/** 19 digits, far beyond 2^53: a number in JavaScript would end in 000. */
export const LONG_CARD = 4_992_346_398_065_154_184n
const START = Date.UTC(2026, 0, 2, 3, 4, 5, 678)

/** The n-th row as the producer would send it, by column. */
export const row = (n: number, changes: Record<string, unknown> = {}): Record<string, unknown> => ({
  cc_num: 4_000_000_000_000n + BigInt(n),
  merchant: 'fraud_Kutch, Hermiston and Farrell',
  category: 'gas_transport',
  amt: 10 + n,
  first: 'Ada',
  last: "O'Neil",
  gender: 'F',
  street: '12 Main Street',
  city: 'Springfield',
  state: 'IL',
  zip: 62701,
  lat: 39.7817,
  long: -89.6501,
  city_pop: 114394,
  job: 'Engineer, civil',
  dob: '1980-02-29',
  trans_num: `trans-${n}`,
  merch_lat: 39.9,
  merch_long: -89.5,
  is_fraud: 0,
  current_time: START + n * 1000,
  ...changes,
})

/** A body of the producer that holds these rows: pandas `split`, inside a JSON string as the real API sends it. */
export function body(rows: readonly Record<string, unknown>[], { doubled = true } = {}): string {
  const columns = Object.keys(rows[0] ?? row(0))
  const document = stringify({ columns, index: rows.map((_, i) => i), data: rows.map((r) => columns.map((c) => r[c])) })
  return doubled ? JSON.stringify(document) : document
}

export const transaction = (n: number, changes: Record<string, unknown> = {}): Transaction =>
  toTransaction(row(n, changes), START + n * 1000 + 500)

export const prediction = (n: number, changes: Partial<Prediction> = {}): Prediction => ({
  ...transaction(n),
  prediction: 0,
  score: 0.01,
  model: 'rf/7',
  predicted_at: START + n * 1000 + 900,
  ...changes,
})

/** What a producer may leave out, and a model need not give. */
export const NOTHING = {
  merchant: null,
  category: null,
  first: null,
  last: null,
  gender: null,
  street: null,
  city: null,
  state: null,
  zip: null,
  lat: null,
  long: null,
  city_pop: null,
  job: null,
  dob: null,
  merch_lat: null,
  merch_long: null,
  is_fraud: null,
  score: null,
  model: null,
} satisfies Partial<Prediction>

/** All that a topic holds. */
export async function held<T extends TopicName>(topics: Topics, topic: T): Promise<Records[T][]> {
  const records: Records[T][] = []
  for await (const { record } of topics.scan(topic)) records.push(record)
  return records
}

/** Appends as a stage does: again after a failure, until it is durable. */
export async function insist(topics: Pick<Topics, 'append'>, writes: Writes): Promise<void> {
  for (;;)
    try {
      return await topics.append(writes)
    } catch {
      await sleep(100)
    }
}

/** A folder that is gone when the test is over: `await using dir = await tempDir()`. */
export async function tempDir() {
  const path = await mkdtemp(join(tmpdir(), 'client-predict-'))
  return {
    path,
    file: (name: string) => join(path, name),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  }
}

/** A logger that keeps its lines, parsed. */
export function listeningLog(level = 'debug') {
  const lines: { level: string; msg: string; stage?: string }[] = []
  const log = pino(
    { level, base: null, formatters: { level: (label) => ({ level: label }) } },
    { write: (line: string) => void lines.push(JSON.parse(line)) },
  )
  return { log, lines, text: () => lines.map((line) => line.msg).join('\n') }
}

/** Resolves with the first value that is neither undefined, null, false nor 0; rejects after `ms`, naming `what`. */
export async function waitFor<T>(what: string, look: () => T | Promise<T>, ms = 60_000): Promise<NonNullable<T>> {
  for (let waited = 0, start = Date.now(); waited < ms; waited = Date.now() - start) {
    const value = await look()
    if (value) return value
    await sleep(Math.min(10 + waited / 10, 100)) // who waits for long looks less often: a look has its price
  }
  throw new Error(`waited ${ms} ms for ${what}`)
}

export type Received = { request: IncomingMessage; text: string }

/** A real HTTP server on a free port of loopback; `answer` is what it says. */
export async function httpServer(answer: (received: Received, response: ServerResponse) => unknown) {
  const received: Received[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request
      .on('data', (chunk) => chunks.push(chunk))
      .on('end', () => {
        const entry = { request, text: Buffer.concat(chunks).toString() }
        received.push(entry)
        void answer(entry, response)
      })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    received,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** A port of loopback where nobody listens. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
