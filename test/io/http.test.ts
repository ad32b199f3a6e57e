import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
import { trustCure } from '../../src/io/certificate.ts'
import { glimpse, request } from '../../src/io/http.ts'
import { certificate } from '../notify/smtp-server.ts'
import { httpServer } from '../rows.ts'

const limits = { deadline: 10_000, maxAnswer: 1000, signal: new AbortController().signal }

test('a proxy of the environment is used, but not on the way to this machine', async () => {
  await using proxy = await httpServer((_, response) => response.end('the proxy'))
  await using server = await httpServer((_, response) => response.end('the server'))
  vi.stubEnv('http_proxy', proxy.url.href)
  for (const name of ['no_proxy', 'NO_PROXY']) vi.stubEnv(name, '')
  try {
    expect((await request({ url: server.url, ...limits })).text).toBe('the server')
    expect((await request({ url: new URL('http://model.invalid/x'), ...limits })).text).toBe('the proxy')
    expect(proxy.received.map(({ request }) => request.url)).toEqual(['http://model.invalid/x'])
  } finally {
    vi.unstubAllEnvs()
  }
})

test.for<[header: string, least: number, most: number]>([
  ['0', 0, 0],
  ['7', 7000, 7000],
  ['86400', 3_600_000, 3_600_000],
  [new Date(Date.now() + 1_000_000).toUTCString(), 500_000, 1_000_000],
  [new Date(Date.now() + 86_400_000).toUTCString(), 3_600_000, 3_600_000],
  [new Date(Date.now() - 60_000).toUTCString(), 0, 0],
  ['soon', 0, 0],
])('Retry-After "%s" is between %i and %i ms', async ([header, least, most]) => {
  await using server = await httpServer((_, response) => response.writeHead(503, { 'retry-after': header }).end())
  const { retryAfter } = await request({ url: server.url, ...limits })
  expect(retryAfter).toBeGreaterThanOrEqual(least)
  expect(retryAfter).toBeLessThanOrEqual(most)
})

test('headers that are given take the place of the own ones, however they are written', async () => {
  await using server = await httpServer((_, response) => response.end())
  const headers = { Accept: 'text/csv', 'CONTENT-TYPE': 'application/json; charset=utf-8', 'User-Agent': 'desk' }
  await request({ url: server.url, headers, body: '{}', ...limits })
  expect(server.received[0]?.request.headers).toMatchObject({
    accept: 'text/csv',
    'content-type': 'application/json; charset=utf-8',
    'user-agent': 'desk',
  })
})

test('posts the text to the byte', async () => {
  await using server = await httpServer((_, response) => response.end())
  const text = ' {"cc_num": 4992346398065154184, "merchant": "Süß"}\n'
  await request({ url: server.url, body: text, ...limits })
  expect(server.received[0]?.text).toBe(text)
})

test('hands the text on as it came: no digit is lost, whatever it calls itself', async () => {
  const text = '{"cc_num": 4992346398065154184, "amt": 1.10}'
  await using server = await httpServer((_, response) =>
    response.writeHead(200, { 'content-type': 'application/json' }).end(text),
  )
  expect(await request({ url: server.url, ...limits })).toEqual({
    status: 200,
    type: 'application/json',
    text,
    retryAfter: 0,
  })
})

test('an aborted signal ends a request before it is made', async () => {
  await using server = await httpServer((_, response) => response.end())
  const signal = AbortSignal.abort(new Error('stopped'))
  await expect(request({ url: server.url, ...limits, signal })).rejects.toThrow('stopped')
  expect(server.received).toEqual([])
})

test.for([
  ['text/html', `<title lang="en"> ${'x'.repeat(100)} </title>`, `an HTML page "${'x'.repeat(80)}…"`],
  ['text/html', `<title>${'x'.repeat(70)}4992346398065154184</title>`, `an HTML page "${'x'.repeat(70)}…4184"`],
  ['text/html', '<body>Waking up', 'an HTML page'],
  ['text/plain; charset=utf-8', 'card 4992346398065154184', 'text/plain'],
  ['', '', 'no content type'],
] as const)('shows of a "%s" answer nothing but its title or its type', ([type, text, shown]) => {
  expect(glimpse({ status: 500, type, text, retryAfter: 0 })).toBe(shown)
})

test.for(['<title', '<!', '<title>', ' ', '\n<', '<title>x'])(
  'looks at no more than the beginning of %j, a million times',
  (part) => {
    const text = part.repeat(1_000_000)
    const began = performance.now()
    glimpse({ status: 503, type: `${';'.repeat(1_000_000)}`, text, retryAfter: 0 })
    expect(performance.now() - began).toBeLessThan(10_000) // it took minutes
  },
)

const CURE =
  '(NODE_EXTRA_CA_CERTS=/path/ca.pem lets Node.js trust who signed it; set it where the worker is started, .env is read too late)'

test('a certificate that nobody vouches for is told with what to do about it', async () => {
  const server = createServer(certificate(), (_, response) => response.end()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const url = new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}`)
  await expect(request({ url, ...limits })).rejects.toMatchObject({
    message: `self-signed certificate ${CURE}`,
    kind: 'refused',
  })
})

test.for([
  ['self-signed certificate', true],
  ['self signed certificate in certificate chain', true],
  ['self-signed certificate in certificate chain; if the root CA is installed locally, try …', true],
  ['unable to verify the first certificate', true],
  ['unable to get local issuer certificate', true],
  ['unable to get issuer certificate', true],
  ['certificate has expired', false],
  ["Hostname/IP does not match certificate's altnames: IP: 127.0.0.1", false],
  ['connect ECONNREFUSED 127.0.0.1:443', false],
] as const)('%s: cured by trust, %s', ([said, cured]) => {
  expect(trustCure(`Error: ${said}`)).toBe(cured ? ` ${CURE}` : '')
})
