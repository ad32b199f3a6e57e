import { isIP } from 'node:net'
import { maskCards } from '../card.ts'

/**
 * What of a wrong value may stand in a log: only what is recognised as harmless. Whatever else it is, a connection string of
 * another program, half a URL, a value that went astray, may hold a secret anywhere.
 */
export function shown(value: string, secret = false): string {
  const text = secret ? undefined : (plain(value) ?? file(value) ?? urlOf(value))
  if (text === undefined) return '"***"'
  const safe = maskCards(text)
  return `"${safe.length > 80 ? `${safe.slice(0, 80)}…` : safe}"`
}

/** Scheme and host; nothing behind them, and nothing at all of an address whose password may be cut in two. */
function urlOf(value: string): string | undefined {
  const [, scheme = '', authority = '', rest = ''] = /^([a-z+]+:\/\/)?([^/?#\\]*)(.*)$/is.exec(value)!
  if (!SCHEMES.test(scheme)) return undefined
  const [host, ...user] = authority.split('@').reverse()
  const readable = !/[@\\]/.test(rest) && isHost(host!.replace(/:\d{1,5}$/, '')) && (scheme || isName(host!))
  if (!readable) return scheme ? `${scheme}…` : undefined
  return `${scheme}${user.length > 0 ? '***@' : ''}${host}${rest.length > 1 ? '/…' : ''}`
}
const SCHEMES = /^((https?|ftp|smtps?|postgres(ql)?|mysql|redis|kafka(\+ssl)?):\/\/)?$/i
/** As it stands without a scheme: `localhost:5000`, `mail.example.com`. */
const isName = (host: string) => /^(localhost|[a-z-]+(\.[a-z-]+)+|\d+(\.\d+){3})(:\d+)?$/i.test(host)

/** A host as it stands in a URL. Of a scheme that browsers do not know, anything else is taken for one as well. */
export const isHost = (hostname: string) =>
  /^(\[[\da-f:.]+\]|[\p{L}\p{N}_][\p{L}\p{N}_.-]*)$/iu.test(hostname) && !hostname.includes('..')

/** Words and numbers; none that is letters and digits mixed, as passwords and tokens are. */
function plain(value: string): string | undefined {
  const text = value.replace(/\s+/g, ' ')
  const mixed = /(?=[\p{L}\p{N}]{6})(\p{L}+\p{N}|\p{N}+\p{L})/u
  return isIP(text) || (/^[\p{L}\p{N}_.,;+%* -]+$/u.test(text) && !mixed.test(text)) ? text : undefined
}

/** A path that SQLite or NAME_FILE may have. */
const file = (value: string) => (/^sqlite:[\w./\\ -]*$/.test(value) ? value : undefined)
