import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { FEATURES } from '../../src/columns.ts'
import { producerApi } from '../../src/fetch/producer.ts'
import { Refusal, reason } from '../../src/io/errors.ts'
import { proxies, proxyOf } from '../../src/io/proxy.ts'
import { webhook } from '../../src/notify/webhook.ts'
import { mlflow } from '../../src/score/mlflow.ts'
import { freePort, httpServer, transaction } from '../rows.ts'

const { signal } = new AbortController()

/** These variables and no others that name a proxy. */
function environment(set: Record<string, string>) {
  for (const name of ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'])
    for (const one of [name, name.toUpperCase()]) vi.stubEnv(one, set[one] ?? '')
}
afterEach(() => void vi.unstubAllEnvs())

describe('the proxy of a URL', () => {
  test.for<[set: Record<string, string>, url: string, shown: string | undefined]>([
    [{}, 'http://a.example/', undefined],
    [{ HTTP_PROXY: 'http://p.corp:3128' }, 'http://a.example/', 'p.corp:3128'],
    [{ HTTP_PROXY: 'http://p.corp:3128' }, 'https://a.example/', undefined],
    [{ https_proxy: 'http://me:hush@p.corp' }, 'https://a.example/', 'p.corp:80'],
    [{ HTTPS_PROXY: 'https://p.corp/' }, 'https://a.example/', 'p.corp:443'],
    [{ HTTPS_PROXY: 'big.corp:1', https_proxy: 'small.corp:2' }, 'https://a.example/', 'small.corp:2'],
    [{ ALL_PROXY: 'p.corp:8080' }, 'https://a.example/', 'p.corp:8080'],
    [{ all_proxy: 'other:1', HTTP_PROXY: '[fd00::1]:3128' }, 'http://a.example/', '[fd00::1]:3128'],
    [{ ALL_PROXY: 'socks5://me:hush@p.corp:1080' }, 'http://a.example/', 'in ALL_PROXY'],
    [{ HTTP_PROXY: 'http://me:hu@sh/x@p.corp' }, 'http://a.example/', 'in HTTP_PROXY'],
    [{ HTTP_PROXY: 'http://' }, 'http://a.example/', 'in HTTP_PROXY'],
  ])('%o, %s: %s', ([set, url, shown]) => {
    environment(set)
    expect(proxyOf(new URL(url))?.shown).toBe(shown)
  })

  test.for(['localhost', 'localhost:5000', '127.0.0.1:8080', '127.8.9.10', '[::1]:9', '2130706433', '0x7f.1'])(
    'is none for this machine: %s',
    (host) => {
      environment({ HTTP_PROXY: 'http://p.corp:3128', ALL_PROXY: 'http://p.corp:3128' })
      expect(proxyOf(new URL(`http://${host}/`))).toBe(undefined)
    },
  )

  test.for<[exempt: string, url: string, direct: boolean]>([
    ['*', 'http://a.example/', true],
    ['b.example, a.example', 'http://a.example/', true],
    ['b.example A.Example', 'http://a.example/', true],
    ['example', 'http://a.example/', false],
    ['.example', 'http://a.example/', true],
    ['*.example', 'http://a.b.example/', true],
    ['a.example:80', 'http://a.example/', true],
    ['a.example:443', 'http://a.example/', false],
    ['a.example:443', 'https://a.example/', true],
    ['a.example', 'http://a.example.:81/', true],
    ['10.1.2.3', 'http://10.1.2.3:5000/', true],
    ['10.0.0.0/8', 'http://10.200.0.1/', true],
    ['10.0.0.0/8:5000', 'http://10.200.0.1/', false],
    ['10.0.0.0/99', 'http://10.0.0.1/', false],
    ['10.0.0.0/x', 'http://10.0.0.1/', false],
    ['10.0.0.0/8', 'http://a10.example/', false],
    ['fd00::/8', 'http://[fd12::1]:5000/', true],
    ['[fd12::1]:5000', 'http://[fd12::1]:5000/', true],
    ['fd12:0::1', 'http://[fd12::1]/', true],
    [',, :80 [', 'http://a.example/', false],
  ])('NO_PROXY=%s, %s: direct %s', ([exempt, url, direct]) => {
    for (const name of ['NO_PROXY', 'no_proxy']) {
      environment({ ALL_PROXY: 'http://p.corp:3128', [name]: exempt })
      expect(proxyOf(new URL(url)) === undefined).toBe(direct)
    }
  })
})

test('is said with all that it is on the way to, and no password', () => {
  environment({ HTTPS_PROXY: 'http://me:hush@p.corp:3128', http_proxy: 'q.corp', NO_PROXY: '.direct' })
  const [producer, model, webhook] = ['https://a.example', 'http://b.example', 'https://c.example'].map(
    (url) => new URL(url),
  )
  expect(proxies({ producer, model, webhook })).toEqual({
    line: 'the proxy p.corp:3128 (HTTPS_PROXY) is on the way to producer, webhook; the proxy q.corp:80 (http_proxy) is on the way to model',
    mistakes: [],
  })
  expect(proxies({ producer: new URL('https://x.direct'), model: undefined })).toEqual({ line: '', mistakes: [] })
  environment({ ALL_PROXY: 'socks5h://me:hush@p.corp' })
  expect(proxies({ producer, model }).mistakes).toEqual([
    'ALL_PROXY: got "***", wants http://user:password@host:port; it is on the way to producer, model',
  ])
})

/** What each of the three says when it is asked, at a host that only a proxy can find. */
async function failures(scheme: 'http' | 'https') {
  const url = new URL(`${scheme}://me:hush@there.invalid/x?key=hush`)
  const model = mlflow({ url, headers: {}, features: FEATURES, unixTimeUnit: 's', threshold: 0.5 })
  const letter = { at: 0, frauds: [], notice: { kind: 'trouble', subject: 'a', lines: [] } } as never
  const tries = [
    producerApi({ url, headers: {} }).call(signal),
    model.judge([transaction(1)], signal),
    webhook({ url }).send(letter, signal),
  ]
  const said = (await Promise.allSettled(tries)).map((result) =>
    result.status === 'rejected' ? (result.reason as Error) : new Error('it was taken'),
  )
  for (const error of said) expect(reason(error)).not.toContain('hush')
  return said
}

describe.for(['http', 'https'] as const)('a proxy on the way to %s', (scheme) => {
  const through = (port: string | number) =>
    environment({ HTTP_PROXY: `http://me:hush@127.0.0.1:${port}`, https_proxy: `me:hush@127.0.0.1:${port}` })

  test('is named when it is not there', async () => {
    const port = await freePort()
    through(port)
    const by = `through the proxy 127.0.0.1:${port}: connect ECONNREFUSED 127.0.0.1:${port}`
    expect((await failures(scheme)).map(reason)).toEqual([
      `cannot reach the producer ${by}`,
      `cannot reach the model ${by}`,
      `cannot reach there.invalid ${by}`,
    ])
  })

  test.for([407, 502, 503, 403, 400, 500])('is named when it answers %i itself', async (status) => {
    const text = '<html><title>Access</title></html>'
    const head = `HTTP/1.1 ${status} No\r\ncontent-type: text/html\r\ncontent-length: ${text.length}\r\n`
    const proxy = createServer((socket) => {
      socket.on('error', () => {}).once('data', () => socket.end(`${head}connection: close\r\n\r\n${text}`))
    }).listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    onTestFinished(() => void proxy.close())
    const { port } = proxy.address() as AddressInfo
    through(port)
    const said = await failures(scheme)
    const name = `the proxy 127.0.0.1:${port}`
    for (const error of said) expect(reason(error)).toContain(name)
    if (status === 407)
      expect(reason(said[0])).toBe(
        `cannot reach the producer through ${name}: the proxy demands a login (407): user:password@ goes before its host`,
      )
    else expect(reason(said[0])).toBe(`the producer answered ${status} (an HTML page "Access"), or ${name} did`)
    expect(said[1]).not.toBeInstanceOf(Refusal) // no row is suspected
  })

  test('is named when it is in .env as what it cannot be', async () => {
    environment({ ALL_PROXY: 'socks5://me:hush@127.0.0.1:1080' })
    expect((await failures(scheme)).map(reason)).toEqual(
      ['the producer', 'the model', 'there.invalid'].map(
        (who) => `cannot reach ${who} through the proxy in ALL_PROXY: the proxy is not written as http://host:port`,
      ),
    )
  })
})

test('a login for the proxy is sent as it is meant, with what is encoded in the URL', async () => {
  await using proxy = await httpServer((_, response) => response.end('{}'))
  environment({ HTTP_PROXY: proxy.url.href.replace('//', '//me:p%40ss%2Fword@') })
  await producerApi({ url: new URL('http://there.invalid/x'), headers: {} }).call(signal)
  const [kind, login] = proxy.received[0]!.request.headers['proxy-authorization']!.split(' ')
  expect([kind, atob(login!)]).toEqual(['Basic', 'me:p@ss/word'])
})
