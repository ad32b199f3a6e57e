import type { HttpBindings } from '@hono/node-server'
import type { Context } from 'hono'
import { getCookie, setCookie } from 'hono/cookie'
import { isLoopback } from '../config/dsn.ts'
import type { Reviewer } from '../config/schemas.ts'
import { MINUTE } from '../io/time.ts'
import { nameIn } from '../review/labels.ts'
import { isPassword, type Keys, SESSION, same } from './keys.ts'

export type Person = { name: string; lead: boolean; via: 'page' | 'link' }
export type Asked = Context<{ Bindings: HttpBindings; Variables: { person?: Person; form: URLSearchParams } }>
export type AccessOptions = {
  keys: Keys
  /** where people reach the desk, if that is set */
  url?: URL | undefined
  /** the server's own address is one of this machine alone */
  local: boolean
  token?: string | undefined
  reviewers: readonly Reviewer[]
  /** the header in which a proxy at one of these addresses names the user */
  userHeader?: string | undefined
  proxies: readonly string[]
  now?: () => number
}
const COOKIE = 'desk'
const NAME = 'desk_name'
/** wrong tokens from one address in a minute, until the minute is over */
const MOST_WRONG = 10

/**
 * Who asks: somebody whom a trusted proxy names, who has typed the token or a password, or who sits at this machine where
 * neither is set. A link lets in without any of it, to one payment.
 */
export function openAccess({ keys, url, local, token, reviewers, userHeader, proxies, now = Date.now }: AccessOptions) {
  const asks = token !== undefined || reviewers.length > 0
  const secure = url?.protocol === 'https:'
  const isLead = (name: string) => reviewers.some((one) => one.name === name && one.lead)
  let minute = 0
  const wrong = new Map<string, number>()

  const address = (c: Asked) => (c.env.incoming.socket.remoteAddress ?? '').replace(/^::ffff:/, '')
  const hostOf = (c: Asked) => (c.req.header('host') ?? '').toLowerCase()
  /** At this machine, by a name of its own, and not through a proxy on it. */
  const isHere = (c: Asked) =>
    local &&
    isLoopback(address(c)) &&
    isLoopback(hostOf(c).replace(/:\d+$/, '')) &&
    !['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip'].some((name) => c.req.header(name) !== undefined)
  /** Whoever loses his entry or his role, or the token when it is another one, is out at once. */
  const session = (name: string, lead: boolean) => {
    const own = reviewers.find((one) => one.name === name)
    return `session\n${lead}\n${name}\n${own ? `${own.hash}${own.lead}` : token}`
  }

  return {
    asks,
    who(c: Asked): Person | undefined {
      const named = userHeader && proxies.includes(address(c)) ? nameIn(c.req.header(userHeader) ?? '') : ''
      if (named) return { name: named, lead: isLead(named), via: 'page' }
      const [key = '', lead = '', ...rest] = (getCookie(c, COOKIE) ?? '').split('|')
      const name = rest.join('|')
      if (asks && keys.check(session(name, lead === 'lead'), key, now()) === 'good')
        return { name, lead: lead === 'lead', via: 'page' }
      if (!asks && !userHeader && isHere(c)) return { name: 'this machine', lead: true, via: 'page' }
      return undefined
    },
    /** Begins a session, if that is the token or the person's password; `false`: it is not; `later`: too many were wrong. */
    async login(c: Asked, name: string, password: string): Promise<boolean | 'later'> {
      const from = address(c)
      if (Math.floor(now() / MINUTE) !== minute) wrong.clear()
      minute = Math.floor(now() / MINUTE)
      const tries = (wrong.get(from) ?? 0) + 1
      if (tries > MOST_WRONG) return 'later'
      wrong.set(from, tries) // before it is known, or many at a time would pass
      const reviewer = reviewers.find((one) => one.name === name)
      const byToken = token !== undefined && same(password, token) && !reviewer
      if (name === '' || !(byToken || (reviewers.length > 0 && (await isPassword(reviewer, password))))) return false
      wrong.set(from, tries - 1)
      const lead = byToken || reviewer!.lead
      const value = `${keys.make(session(name, lead), now() + SESSION)}|${lead ? 'lead' : ''}|${name}`
      setCookie(c, COOKIE, value, { path: '/', httpOnly: true, sameSite: 'Strict', secure, maxAge: SESSION / 1000 })
      return true
    },
    /** A form of ours, sent by a browser that shows a page of ours. */
    isOwn(c: Asked): boolean {
      const origin = URL.parse(c.req.header('origin') ?? '')
      return origin !== null && (origin.host === hostOf(c) || origin.host === url?.host)
    },
    /** The name that somebody with a link has given. */
    nameOf: (c: Asked) => nameIn(getCookie(c, NAME) ?? ''),
    keepName: (c: Asked, name: string) =>
      setCookie(c, NAME, name, { path: '/desk', httpOnly: true, sameSite: 'Lax', secure, maxAge: 180 * 86_400 }),
  }
}
