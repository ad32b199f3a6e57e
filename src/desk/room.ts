import type { Context, Hono } from 'hono'
import type { Why } from '../care/why.ts'
import { addressOf, idOf, type Payment, type Reviews, TABS, type Tab, type Which } from '../review/reviews.ts'
import { type AccessOptions, type Asked, openAccess, type Person } from './access.ts'
import { type Keys, LINK, SESSION } from './keys.ts'
import { message } from './pages.ts'
import { type Fields, type Html, openParts } from './parts.ts'

export type RoomOptions = AccessOptions & {
  reviews: Reviews
  zone: string
  why: (payment: Payment) => Promise<Why | undefined>
}
export type App = Hono<Asked extends Context<infer E> ? E : never>
/** What the routes share. */
export type Room = ReturnType<typeof openRoom>
export function openRoom({ reviews, zone, why, ...options }: RoomOptions) {
  const { keys, now = Date.now } = options
  const access = openAccess(options)
  const parts = openParts(zone)
  const page = (c: Context, body: Html, status = 200) =>
    c.body(withoutCards(String(body)), status as 200, { 'content-type': 'text/html; charset=utf-8' })
  const refuse = async (c: Context, status: number, title: string, text: string) =>
    page(c, await message(parts, title, text), status)
  const stranger = (c: Asked) =>
    access.asks && c.req.method !== 'POST'
      ? c.redirect('/desk/login', 303)
      : refuse(c, 403, 'Not you', 'The desk is for who has a link, or for this machine: set DESK_TOKEN or REVIEWERS.')
  const formKey = ({ name }: Person, what: string) => `form\n${name}\n${what}`
  return {
    ...{ reviews, why, access, parts, page, refuse, stranger, now },
    tabOf: (text: unknown): Tab => TABS.find((name) => name === text) ?? 'alarms',
    /** What a form about this carries. */
    fields: (person: Person, what: string, tab: Tab): Fields => ({
      key: keys.make(formKey(person, what), now() + SESSION),
      tab,
    }),
    isForm: (person: Person, what: string, key: string) => keys.check(formKey(person, what), key, now()) === 'good',
    /** Who has the link of a payment. */
    linked(c: Asked, id: string, key: string): Person | 'old' | 'wrong' {
      const state = keys.check(linkOf(id), key, now())
      return state === 'good' ? { name: byLink(access.nameOf(c)), lead: false, via: 'link' } : state
    },
    refuseKey(c: Asked, state: 'old' | 'wrong') {
      if (c.req.method === 'POST' || (state === 'wrong' && c.req.query('key')))
        return refuse(c, 403, 'Not this one', 'The key is not of this payment, or too old. Open the page anew.')
      if (state === 'wrong') return stranger(c)
      return refuse(c, 410, 'Too old', 'A link is good for 14 days. The payment is in the queue of the desk.')
    },
  }
}

export const byLink = (name: string) => `${name} (by link)`
const linkOf = (id: string) => `link\n${id}`
/** The address of a payment's page for whoever has the mail that was decided at that time: it follows from these alone. */
export const deskLinks = (url: URL, keys: Keys) => (of: Which, at: number) =>
  `${addressOf(url, of)}?key=${keys.make(linkOf(idOf(of)), at + LINK)}`

/** Whatever was shown: 11 digits in a row are no part of any page. */
export const withoutCards = (page: string) => page.replace(/\p{N}{11,}/gu, (digits) => `…${digits.slice(-4)}`)
