import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import type { Logger } from 'pino'
import { collectDefaultMetrics } from 'prom-client'
import { maskCards } from '../card.ts'
import { isLoopback } from '../config/dsn.ts'
import { isBug, reason } from '../io/errors.ts'
import { VERSION } from '../version.ts'
import type { Monitor, Report } from './monitor.ts'
import { pageOf, STYLE_HASH } from './page.ts'

/** ms between attempts to listen, as when another process has the port */
const AGAIN = 60_000
/** ms; a client that is slower holds a connection for nothing */
const SLOW = 5000
const MOST_CONNECTIONS = 100
/** ms; the page comes without the last payments when the database is slower */
const RECENT_WITHIN = 500
const HEADERS = {
  'content-security-policy': `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
}

export type StatusOptions = {
  host: string
  port: number
  /** without it only this machine may ask, by a name of its own */
  token?: string | undefined
  log: Logger
  watch: Monitor
  /** what the page says of the settings */
  about: readonly (readonly [name: string, value: string])[]
  /** answers for /desk, once it is open; its last payments stand on the page */
  desk?: () =>
    | { fetch(request: Request, env: HttpBindings): Response | Promise<Response>; recent(): Promise<string> }
    | undefined
  again?: number
}
type Answer = { status: number; type: string; text: string; headers?: Record<string, string | string[]> }
const plain = (status: number, text: string, headers = {}): Answer => ({
  status,
  type: 'text/plain; charset=utf-8',
  text: `${text}\n`,
  headers,
})

/**
 * The status page, `/healthz`, `/readyz` and `/metrics`. It shows and changes nothing. When it cannot listen it says so
 * and tries again: the worker works without it.
 */
export function statusServer({
  host,
  port,
  token,
  log,
  watch,
  about,
  desk = () => undefined,
  again = AGAIN,
}: StatusOptions) {
  const { metrics } = watch
  collectDefaultMetrics({ register: metrics.registry })
  const setGauges = stageGauges(metrics)

  const routes: { [path: string]: (() => Promise<Answer>) | undefined } = {
    '/healthz': async () => plain(200, 'ok'),
    async '/readyz'() {
      const report = await watch.report()
      return { status: report.ready ? 200 : 503, type: 'application/json', text: readiness(report) }
    },
    async '/metrics'() {
      setGauges((await watch.report()).rows)
      return { status: 200, type: metrics.registry.contentType, text: await metrics.registry.metrics() }
    },
    async '/'() {
      const rows = desk()?.recent()
      const recent = await Promise.race([rows?.catch(() => ''), sleep(rows ? RECENT_WITHIN : 0, '', { ref: false })])
      const page = pageOf(await watch.report(), await metrics.totals(), watch.began, about, recent)
      return { status: 200, type: 'text/html; charset=utf-8', text: page }
    },
  }

  async function answer({ method = '', url = '', headers }: IncomingMessage): Promise<Answer> {
    const path = url.split('?')[0]!
    const route = routes[path]
    if (path !== '/healthz') {
      if (token !== undefined && !knows(token, headers.authorization))
        return plain(401, 'wants the STATUS_TOKEN: Authorization: Bearer …, or as the password, with any user', {
          'www-authenticate': ['Bearer', 'Basic realm="client-predict", charset="UTF-8"'],
        })
      // A page elsewhere may have its own name lead here, and read what the browser of this machine may see.
      if (token === undefined && !isLoopback((headers.host ?? '').replace(/:\d+$/, '')))
        return plain(403, 'is for this machine alone: ask for 127.0.0.1, or set STATUS_TOKEN')
    }
    if (!route) return plain(404, `there is ${Object.keys(routes).join(', ')}`)
    if (method !== 'GET' && method !== 'HEAD') return plain(405, 'GET or HEAD', { allow: 'GET, HEAD' })
    return route()
  }
  async function serve(request: IncomingMessage, response: ServerResponse) {
    const { status, type, text, headers } = await answer(request).catch((error) => {
      log.error(`the status page: ${reason(error)}`)
      return plain(500, isBug(error) ? 'a bug, see the log' : maskCards(reason(error)))
    })
    const body = Buffer.from(text)
    response.writeHead(status, { ...HEADERS, ...headers, 'content-type': type, 'content-length': body.length })
    response.end(body) // which the server keeps to itself when HEAD was asked
    request.resume()
  }
  const server = createServer({
    headersTimeout: SLOW,
    requestTimeout: SLOW,
    keepAliveTimeout: SLOW,
    connectionsCheckingInterval: 1000,
    maxHeaderSize: 8192,
  })
  server.maxConnections = MOST_CONNECTIONS
  const atDesk = getRequestListener(
    (request, env) => desk()?.fetch(request, env as HttpBindings) ?? new Response('starting\n', { status: 503 }),
    { overrideGlobalObjects: false },
  )
  server.on('request', (request, response) => void (isOfDesk(request) ? atDesk : serve)(request, response))

  let timer: NodeJS.Timeout | undefined
  let said = false
  const listen = () => server.listen(port, host.replace(/^\[|\]$/g, ''))
  server.on('error', (error: NodeJS.ErrnoException) => {
    if (!said) log.warn(`${cannot(error, host, port)}; the worker works without its status page`)
    said = true
    timer = setTimeout(listen, again).unref()
  })
  server.on('listening', () => log.info(`status page: ${urlOf(host, server.address() as AddressInfo)}`))
  listen()

  return {
    async [Symbol.asyncDispose]() {
      clearTimeout(timer)
      server.removeAllListeners('error').on('error', () => {})
      server.closeAllConnections()
      if (server.listening) await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

function stageGauges(metrics: Monitor['metrics']) {
  const working = metrics.gauge('stage_working', '1: the stage works, stands by or holds back; 0: it fails', ['stage'])
  const waiting = metrics.gauge('lag_records', 'Records that wait for the stage', ['stage'])
  const oldest = metrics.gauge('lag_seconds', 'For how long the oldest of them has waited', ['stage'])
  const toTell = metrics.gauge('frauds_waiting', 'Frauds whose alarm is still to be sent, or under way', ['stage'])
  return (rows: Report['rows']) => {
    for (const gauge of [waiting, oldest, toTell]) gauge.reset()
    for (const { stage, state, waiting: records, oldest: age = 0, frauds } of rows) {
      if (frauds !== undefined) toTell.set({ stage }, frauds)
      if (state !== 'elsewhere') working.set({ stage }, state === 'failing' || state === 'starting' ? 0 : 1)
      if (records === undefined) continue
      waiting.set({ stage }, records)
      oldest.set({ stage }, age)
    }
  }
}

function readiness({ ready, rows, at }: Report): string {
  const stages = rows.map(({ stage, state, since, why, last, waiting, oldest = 0, frauds }) => ({
    ...{ stage, state, since: iso(since), why },
    last_error: last && { at: iso(last.at), reason: last.reason },
    ...(waiting !== undefined && { lag_records: waiting, lag_seconds: oldest }),
    ...(frauds !== undefined && { frauds_waiting: frauds }),
  }))
  return `${JSON.stringify({ version: VERSION, ready, at: iso(at), stages }, undefined, 2)}\n`
}

const isOfDesk = ({ url = '' }: IncomingMessage) => /^\/desk(?:[/?]|$)/.test(url)
const iso = (at: number) => new Date(at).toISOString()
const urlOf = (host: string, { port }: AddressInfo) => `http://${host.includes(':') ? `[${host}]` : host}:${port}/`

function cannot({ code, message }: NodeJS.ErrnoException, host: string, port: number): string {
  const cures: Record<string, string> = {
    EADDRINUSE: 'another program has that port: set PORT to another one, or 0 for any',
    EACCES: 'ports below 1024 are for administrators: set PORT',
    EADDRNOTAVAIL: 'this machine has no such address: set HOST',
    ENOTFOUND: 'no such name: set HOST',
  }
  return `cannot listen on ${host}:${port} (${code ?? message})${cures[code ?? ''] ? `: ${cures[code ?? '']}` : ''}`
}

/** In a time that does not depend on how much of it is right. */
function knows(token: string, header = ''): boolean {
  const [, scheme = '', value = ''] = /^(\w+) +(\S+)$/.exec(header) ?? []
  const given = /^basic$/i.test(scheme)
    ? Buffer.from(value, 'base64')
        .toString()
        .replace(/^[^:]*:/, '')
    : value
  const hash = (text: string) => createHash('sha256').update(text).digest()
  return /^(basic|bearer)$/i.test(scheme) && timingSafeEqual(hash(given), hash(token))
}
