import { Agent } from 'node:http'
import { Agent as TlsAgent } from 'node:https'
import { createRequire } from 'node:module'
import type { AxiosRequestConfig, AxiosStatic, InternalAxiosRequestConfig } from 'axios'
import { maskedStart } from '../card.ts'
import { deadline as within } from './abort.ts'
import { plainTrust, trustCure } from './certificate.ts'
import { HttpFailure } from './errors.ts'
import { portOf, proxyOf } from './proxy.ts'

/** In one file: its modules take twice the time to load. */
const axios = createRequire(import.meta.url)('axios') as AxiosStatic
const { AxiosError, AxiosHeaders } = axios
/** What axios.request comes to once it has merged defaults and asked interceptors, of which there are none: half of its work. */
const send = axios.getAdapter('http')

export type HttpAnswer = { status: number; type: string; text: string; retryAfter: number }
export type HttpRequest = {
  url: URL
  headers?: Record<string, string>
  /** JSON text to post; without it the request is a GET */
  body?: string
  /** ms until the whole answer must be there */
  deadline: number
  /** bytes */
  maxAnswer: number
  signal: AbortSignal
}

/** As Node's own, but for NODE_USE_ENV_PROXY: with it those take a proxy by themselves, to this machine too. */
const kept = { keepAlive: true, scheduling: 'lifo', timeout: 5000 } as const
const [httpAgent, httpsAgent] = [new Agent(kept), new TlsAgent(kept)]

/**
 * One HTTP request, whatever the status of the answer. Throws a short HttpFailure when no whole answer came: it carries
 * neither the request nor the answer, which hold card numbers and tokens.
 */
export async function request({
  url,
  headers = {},
  body,
  deadline,
  maxAnswer,
  signal,
}: HttpRequest): Promise<HttpAnswer> {
  using limit = within(signal, deadline)
  const options: InternalAxiosRequestConfig = {
    url: url.href,
    method: body === undefined ? 'GET' : 'POST',
    data: body,
    headers: new AxiosHeaders({
      accept: 'application/json',
      'cache-control': 'no-cache', // what a gateway kept of an earlier answer says nothing of now
      'user-agent': 'client-predict',
      ...(body && { 'content-type': 'application/json' }),
      ...headers,
    }),
    responseType: 'text',
    validateStatus: null,
    maxRedirects: 0,
    maxContentLength: maxAnswer,
    signal: limit.signal, // axios's own timeout is idle time only: a server that drips never meets it
  }
  try {
    signal.throwIfAborted()
    Object.assign(options, way(url))
    const { status, headers: got, data } = await send(options)
    if (options.proxy && status === 407)
      throw new HttpFailure('the proxy demands a login (407): user:password@ goes before its host', { kind: 'refused' })
    return {
      status,
      type: String(got['content-type'] ?? ''),
      text: data ?? '',
      retryAfter: waitFor(got['retry-after']),
    }
  } catch (error) {
    signal.throwIfAborted()
    if (limit.late()) throw new HttpFailure(`no whole answer within ${deadline / 1000} s`, { kind: 'timeout' })
    throw error instanceof HttpFailure ? error : failureOf(error, maxAnswer)
  }
}

/** The proxy that axios is to take: the one that proxyOf names, whatever it would find itself. */
function way(url: URL): Pick<AxiosRequestConfig, 'proxy' | 'httpAgent' | 'httpsAgent'> {
  const proxy = proxyOf(url)
  if (!proxy) return { proxy: false, httpAgent, httpsAgent }
  if (!proxy.url) throw new HttpFailure('the proxy is not written as http://host:port', { kind: 'refused' })
  const { protocol, hostname: host, username, password } = proxy.url
  const auth = username && { username: decodeURIComponent(username), password: decodeURIComponent(password) }
  return { proxy: { protocol, host, port: portOf(proxy.url), ...(auth && { auth }) }, httpAgent }
}

/** Of a connection that was never made: what Node.js says then. */
const NOT_MADE = /^(connect|getaddrinfo) |certificate|TLS|SSL/

function failureOf(error: unknown, maxAnswer: number): HttpFailure {
  // What it throws over an answer, a RangeError of a text that is too long for one, is no mistake of this program.
  if (!(error instanceof AxiosError)) return new HttpFailure((error as Error).message, { kind: 'cut' })
  const { message, code } = error
  if (/maxContentLength/.test(message))
    return new HttpFailure(`the answer is larger than ${maxAnswer / 2 ** 20} MiB`, { kind: 'too-large', code })
  if (/aborted/.test(message))
    return new HttpFailure('the connection broke off in the middle of the answer', { kind: 'cut', code })
  if (/socket hang up/.test(message))
    return new HttpFailure('the connection was closed without an answer', { kind: 'cut', code })
  const said = plainTrust(message) || code || 'no answer'
  return new HttpFailure(`${said}${trustCure(said)}`, { kind: NOT_MADE.test(said) ? 'refused' : 'cut', code })
}

/** Retry-After, in seconds or as a date, in ms; an hour at most, 0 when there is none. */
function waitFor(header: unknown): number {
  if (typeof header !== 'string' || header.length > 100) return 0
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Math.min(Math.max(ms || 0, 0), 3_600_000)
}

/** characters at the beginning of an answer that are searched for what it is */
const BEGINNING = 4096

/** What may be shown of an answer that was no data: the title of a page, nothing else. */
export function glimpse({ type, text }: HttpAnswer): string {
  const title = /<title[^>]*>([^<]{1,300})/i.exec(text.slice(0, BEGINNING))?.[1]?.trim()
  if (title) return `an HTML page "${maskedStart(title, 80)}"`
  return isHtml(text) ? 'an HTML page' : type.slice(0, 100).split(';')[0] || 'no content type'
}

/** By the text alone: some frameworks call every text `text/html`, data too. */
export const isHtml = (text: string) => /^\s*<[!a-z]/i.test(text.slice(0, BEGINNING))
