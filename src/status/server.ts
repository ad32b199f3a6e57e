import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import { secureHeaders } from 'hono/secure-headers'
import type { Logger } from 'pino'
import { maskCards } from '../card.ts'
import { isLoopback } from '../config/dsn.ts'
import { isBug, reason } from '../io/errors.ts'
import { iso } from '../io/time.ts'
import { VERSION } from '../version.ts'
import type { Monitor, Report } from './monitor.ts'
import { pageOf, STYLE_HASH } from './page.ts'
import { collectDefaultMetrics } from './prometheus.cjs'

/** ms between attempts to listen, as when another process has the port */
const AGAIN = 60_000
/** ms; a client that is slower holds a connection for nothing */
const SLOW = 5000
const MOST_CONNECTIONS = 100
/** ms; the page comes without the last payments when the database is slower */
const RECENT_WITHIN = 500
type App = Hono<{ Bindings: HttpBindings }>

export type StatusOptions = {
  host: string
  port: number
  /** without it only this machine may ask, by a name of its own */
  token?: string | undefined
  log: Logger
  watch: Monitor
  /** what the page says of the settings */
  about: readonly (readonly [name: string, value: string])[]
  /** answers for /desk, once it is open; the page has its last payments, for whoever may see them there */
  desk?: () =>
    | {
        fetch(request: Request, env: HttpBindings): Response | Promise<Response>
        recent(c: Context): Promise<string>
        facts(): readonly (readonly [name: string, value: string])[]
      }
    | undefined
  again?: number
}

/**
 * The status page, `/healthz`, `/readyz` and `/metrics`, which show and change nothing, and the desk beside them. When it
 * cannot listen it says so and tries again: the worker works without it.
 */
export function statusServer({ host, port, log, again = AGAIN, desk = () => undefined, ...options }: StatusOptions) {
  const app: App = new Hono()
  const atDesk = (c: Context) => desk()?.fetch(c.req.raw, c.env) ?? c.text('starting\n', 503)
  app.all('/desk', atDesk).all('/desk/*', atDesk)
  statusRoutes(app, { log, desk, ...options })
  const server = createServer(
    {
      headersTimeout: SLOW,
      requestTimeout: SLOW,
      keepAliveTimeout: SLOW,
      connectionsCheckingInterval: 1000,
      maxHeaderSize: 8192,
    },
    getRequestListener(app.fetch, { overrideGlobalObjects: false, hostname: NAMELESS }),
  )
  server.maxConnections = MOST_CONNECTIONS

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

type Routes = Required<Pick<StatusOptions, 'log' | 'watch' | 'about' | 'desk'>> & Pick<StatusOptions, 'token'>
function statusRoutes(app: App, { token, log, watch, about, desk }: Routes) {
  const { metrics } = watch
  collectDefaultMetrics({ register: metrics.registry })
  const setGauges = stageGauges(metrics)
  const plain = (c: Context, status: number, text: string, headers = {}) =>
    answer(c, status, `${text}\n`, PLAIN, headers)

  app.onError((error, c) => {
    log.error(`the status page: ${reason(error)}`)
    return plain(c, 500, isBug(error) ? 'a bug, see the log' : maskCards(reason(error)))
  })
  app.use(secureHeaders(HEADERS), async (c, next) => {
    await next()
    c.header('cache-control', 'no-store')
  })
  app.use(async (c, next) => {
    if (c.req.path === '/healthz') return next()
    if (token !== undefined && !knows(token, c.req.header('authorization')))
      return plain(c, 401, 'wants the STATUS_TOKEN: Authorization: Bearer …, or as the password, with any user', {
        // One alone: browsers do not understand a header with two, and ask for no password then.
        'www-authenticate': 'Basic realm="client-predict", charset="UTF-8"',
      })
    // A page elsewhere may have its own name lead here, and read what the browser of this machine may see.
    if (token === undefined && !isLoopback((c.req.header('host') ?? '').replace(/:\d+$/, '')))
      return plain(c, 403, 'is for this machine alone: ask for 127.0.0.1, or set STATUS_TOKEN')
    return next()
  })
  const routes: { [path: string]: (c: Context) => Response | Promise<Response> } = {
    '/healthz': (c) => plain(c, 200, 'ok'),
    async '/readyz'(c) {
      const report = await watch.report()
      return answer(c, report.ready ? 200 : 503, readiness(report), 'application/json')
    },
    async '/metrics'(c) {
      setGauges((await watch.report()).rows)
      return answer(c, 200, await metrics.text(), metrics.registry.contentType)
    },
    async '/'(c) {
      const rows = desk()?.recent(c)
      const recent = await Promise.race([rows?.catch(() => ''), sleep(rows ? RECENT_WITHIN : 0, '', { ref: false })])
      const page = pageOf(
        await watch.report(),
        await metrics.totals(),
        watch.began,
        [...about, ...(desk()?.facts() ?? [])],
        recent,
      )
      return answer(c, 200, page, 'text/html; charset=utf-8')
    },
  }
  for (const [path, route] of Object.entries(routes))
    app.get(path, route).all(path, (c) => plain(c, 405, 'GET or HEAD', { allow: 'GET, HEAD' }))
  app.notFound((c) => plain(c, 404, `there is ${Object.keys(routes).join(', ')}`))
}

const PLAIN = 'text/plain; charset=utf-8'
/** of whoever names no host, as the oldest clients */
const NAMELESS = 'nameless.invalid'
const HEADERS = {
  contentSecurityPolicy: {
    defaultSrc: ["'none'"],
    styleSrc: [`'sha256-${STYLE_HASH}'`],
    baseUri: ["'none'"],
    formAction: ["'none'"],
    frameAncestors: ["'none'"],
  },
  strictTransportSecurity: false, // is for whoever puts TLS before it to say
}
/** Its length is said to HEAD, too. */
const answer = (c: Context, status: number, text: string, type: string, headers: Record<string, string> = {}) =>
  c.body(text, status as 200, { ...headers, 'content-type': type, 'content-length': `${Buffer.byteLength(text)}` })

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
