import { FEATURES, type Feature, NUMERIC_FEATURES } from '../columns.ts'
import { ENCODED, isLoopback, isWhole, list } from './dsn.ts'
import { z } from './zod.cjs'

/** How a value of each kind is read: from text; what is wrong with it says what is wanted. */

const within = (text: z.ZodType<string, string>, what: string, least: number, most: number) =>
  text.transform(Number).pipe(z.number(what).min(least, what).max(most, what))
export const whole = (what: string, least: number, most: number) =>
  within(z.string().regex(/^\d+$/, what), what, least, most)
export const count = (things: string, most: number, least = 1) =>
  whole(`a whole number of ${things}, ${least} to ${most}`, least, most)
export const share = within(z.string(), 'a number from 0 to 1', 0, 1)
export const amount = within(z.string().regex(/^\d+(\.\d+)?$/, 'an amount in $'), 'an amount in $', 0, 1e6)
const either = new Intl.ListFormat('en-GB', { type: 'disjunction' })
export const oneOf = <const V extends readonly string[]>(...values: V) => z.enum(values, either.format(values))
export const url = (...protocols: string[]) =>
  z.string().transform((text, ctx) => {
    const parsed = URL.parse(text)
    if (parsed && !parsed.hash && protocols.includes(parsed.protocol) && isWhole(text, parsed)) return parsed
    const hint = text.includes('@') ? `, ${ENCODED}` : ''
    ctx.addIssue(`a full URL that begins with ${protocols.map((p) => `${p}//`).join(' or ')}${hint}`)
    return z.NEVER
  })
/** The pages have their own paths, and a mail is no place for a password. */
export const origin = url('http:', 'https:').refine(
  ({ href, origin }) => href === `${origin}/`,
  'http:// or https:// with a host, perhaps a port, and nothing else: no path, no query, no user',
)
export const headers = z.string().transform((text, ctx) => {
  try {
    return z.record(z.string().regex(/^[\w-]+$/), z.string().regex(/^[\t -~\u0080-\u00ff]*$/)).parse(JSON.parse(text))
  } catch {
    ctx.addIssue('a JSON object of Latin-1 texts, e.g. {"Authorization":"Bearer token"}')
    return z.NEVER
  }
})
export const address = z
  .string()
  .trim()
  .regex(
    /^([^\s@<>,:;]+@[^\s@<>,;]+|[^<>\r\n]*<[^\s@<>,:;]+@[^\s@<>,;]+>)$/,
    'an address, e.g. fraud@example.com or Fraud desk <fraud@example.com>',
  )
/** A comma in quotes is of a name. */
const mailboxes = (text: string) =>
  (text.match(/(?:"(?:[^"\\]|\\.)*"|[^,])+/g) ?? []).map((one) => one.trim()).filter((one) => one !== '')
export const addresses = z
  .string()
  .transform(mailboxes)
  .pipe(z.array(address).min(1, 'one address or more, with commas between'))
const distinct = (items: readonly string[]) => new Set(items).size === items.length
/** A comma list of these names, each at most once. */
export const listOf = <const V extends readonly string[]>(names: V) => {
  const what = `a comma list of ${names.join(', ')}, each at most once`
  return z
    .string()
    .transform(list)
    .pipe(z.array(z.enum(names, what)).min(1, what).refine(distinct, what))
}

/** A certificate or key; in an environment variable its lines may be divided by \n. */
export const pem = (what: string) =>
  z
    .string()
    .transform((text) => text.replaceAll('\\n', '\n'))
    .pipe(z.string().regex(/^-----BEGIN [A-Z ]+-----[\s\S]+-----END [A-Z ]+-----$/, `${what} as PEM, -----BEGIN …`))

export type SmtpServer = {
  host: string
  port: number
  secure: boolean
  loopback: boolean
  user?: string
  pass?: string
}
export const smtp = url('smtp:', 'smtps:').transform((parsed, ctx): SmtpServer => {
  if (parsed.pathname.length > 1 || parsed.search) {
    ctx.addIssue(`nothing behind the port, as in smtp://user:password@host:587, ${ENCODED}`)
    return z.NEVER
  }
  const secure = parsed.protocol === 'smtps:'
  const login = parsed.username && {
    user: decodeURIComponent(parsed.username),
    pass: decodeURIComponent(parsed.password),
  }
  return {
    host: parsed.hostname.replace(/^\[|\]$/g, ''),
    port: Number(parsed.port) || (secure ? 465 : 587),
    secure,
    loopback: isLoopback(parsed.hostname),
    ...login,
  }
})
export const features = z.string().transform((text, ctx): readonly Feature[] | 'auto' => {
  if (text === 'auto') return text
  if (text === 'all') return FEATURES
  if (text === 'numeric') return NUMERIC_FEATURES
  const columns = list(text)
  const unknown = columns.filter((column) => !(FEATURES as readonly string[]).includes(column))
  if (columns.length > 0 && unknown.length === 0 && distinct(columns)) return columns as Feature[]
  ctx.addIssue(
    unknown.includes('is_fraud')
      ? 'columns without is_fraud: the label is never sent to the model'
      : `all, numeric, auto, or a comma list, each once, of ${FEATURES.join(', ')}`,
  )
  return z.NEVER
})

export type Reviewer = { name: string; salt: string; hash: string; lead: boolean }
export const reviewers = z.string().transform((text, ctx): readonly Reviewer[] => {
  const found = list(text).map((one) => /^((?![^:]*\d{11})[\w.@+-]{1,60}):([\w-]{22})\.([\w-]{43})(:lead)?$/.exec(one))
  const entries = found.flatMap((one) =>
    one ? { name: one[1]!, salt: one[2]!, hash: one[3]!, lead: one[4] !== undefined } : [],
  )
  if (found.length > 0 && found.length === entries.length && distinct(entries.map(({ name }) => name))) return entries
  ctx.addIssue('a comma list of entries as npm run desk -- password NAME makes them, each name once')
  return z.NEVER
})
/** As the system's own list of time zones has it. */
export const timeZone = z.string().refine((text) => {
  try {
    return Boolean(new Intl.DateTimeFormat('en', { timeZone: text }))
  } catch {
    return false
  }
}, 'a time zone, e.g. Europe/Paris')
