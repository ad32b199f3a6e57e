import { BlockList, isIP } from 'node:net'
import { isLoopback, isWhole } from '../config/dsn.ts'

/** A proxy of the environment, the variable that names it, and what may be shown of it. Without `url` it cannot be read. */
export type Proxy = { name: string; shown: string; url?: URL }

const PORTS: Record<string, number> = { 'http:': 80, 'https:': 443 }
export const portOf = ({ port, protocol }: URL) => Number(port) || PORTS[protocol]!

/**
 * The proxy on the way to a URL, as curl reads HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; the names in lower case
 * go first. None where it is asked directly, as this machine always is.
 */
export function proxyOf(url: URL): Proxy | undefined {
  const names = [url.protocol.replace(':', '_proxy'), 'all_proxy'].flatMap((name) => [name, name.toUpperCase()])
  const name = names.find((one) => process.env[one]?.trim())
  if (!name || isLoopback(url.hostname) || isExempt(url)) return undefined
  const text = process.env[name]!.trim()
  const whole = text.includes('://') ? text : `http://${text}`
  const proxy = URL.parse(whole)
  if (!proxy || !(proxy.protocol in PORTS) || !isWhole(whole, proxy)) return { name, shown: `in ${name}` }
  return { name, shown: `${proxy.hostname}:${portOf(proxy)}`, url: proxy }
}

/** Is it named in NO_PROXY: by host, `.domain` or `*.domain`, each with a port or without, address, or network (10.0.0.0/8)? */
function isExempt(url: URL): boolean {
  const host = bare(url.hostname)
  const entries = (process.env.no_proxy || process.env.NO_PROXY || '').toLowerCase().split(/[\s,]+/)
  return entries.some((entry) => {
    const [, name = entry, port] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(entry) ?? []
    if (name === '' || (port && Number(port) !== portOf(url))) return false
    if (/^[.*]/.test(name)) return host.endsWith(name.replace('*', ''))
    const [address, bits] = bare(name).split('/')
    return isIP(address!) ? isWithin(host, address!, bits) : host === address
  })
}
const bare = (hostname: string) => hostname.replace(/^\[|\]$|\.$/g, '')

function isWithin(host: string, network: string, bits?: string): boolean {
  const [kind, most] = isIP(network) === 6 ? (['ipv6', 128] as const) : (['ipv4', 32] as const)
  const prefix = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : most + 1
  if (prefix > most || !isIP(host)) return false
  const list = new BlockList()
  list.addSubnet(network, prefix, kind)
  return list.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4')
}

/** For what was not reached. */
export const through = (url: URL) => {
  const proxy = proxyOf(url)
  return proxy ? ` through the proxy ${proxy.shown}` : ''
}
/** For an answer that may be the proxy's own. */
export const orProxy = (url: URL) => {
  const proxy = proxyOf(url)
  return proxy ? `, or the proxy ${proxy.shown} did` : ''
}

/** Which of these go through a proxy, in one line, and what is wrong with it. */
export function proxies(urls: Record<string, URL | undefined>): { line: string; mistakes: string[] } {
  const ways = Object.entries(urls).flatMap(([user, url]) => {
    const proxy = url && proxyOf(url)
    return proxy ? { user, ...proxy } : []
  })
  const all = [...Map.groupBy(ways, ({ name }) => name)].map(([name, [first, ...rest]]) => ({
    ...first!,
    name,
    users: [first!, ...rest].map(({ user }) => user).join(', '),
  }))
  return {
    line: all.map(({ name, shown, users }) => `the proxy ${shown} (${name}) is on the way to ${users}`).join('; '),
    mistakes: all
      .filter(({ url }) => !url)
      .map(
        ({ name, users }) => `${name}: got "***", wants http://user:password@host:port; it is on the way to ${users}`,
      ),
  }
}
