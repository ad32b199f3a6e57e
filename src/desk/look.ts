import { oneLine } from '../io/text.ts'
import { idOf } from '../review/reviews.ts'
import { identity } from '../transaction.ts'
import type { Person } from './access.ts'
import { doneNotice, paymentPage, queuePage, searchPage } from './pages.ts'
import type { App, Room } from './room.ts'

/** payments at a time: as many as a page shows, and are done in one go */
export const MOST = 100
/** of a card, for whoever has a link alone */
const MOST_BY_LINK = 5

/** What is looked at: the queue, one payment, what was searched for. */
export function lookRoutes(app: App, room: Room) {
  const { reviews, access, parts, page, refuse, stranger, tabOf, fields } = room
  async function noticeOf(person: Person, id: string | undefined, tab: ReturnType<typeof tabOf>) {
    const done = id ? await reviews.find(id) : undefined
    return done ? doneNotice(parts, done, fields(person, idOf(done.payment), tab)) : ''
  }
  app.get('/desk', async (c) => {
    const person = access.who(c)
    if (!person) return stranger(c)
    const tab = tabOf(c.req.query('tab'))
    const [found, counts] = await Promise.all([reviews.queue(tab, MOST), reviews.counts()])
    const [said = 0, stale = 0] = ['said', 'stale'].map((name) => Number.parseInt(c.req.query(name) ?? '', 10) || 0)
    const faster = stale > 0 ? `; ${stale} not, as somebody was faster` : ''
    const notice =
      said + stale > 0 ? parts.told(`${said} done${faster}`) : await noticeOf(person, c.req.query('done'), tab)
    return page(c, await queuePage(parts, { tab, found, counts, fields: fields(person, 'bulk', tab), notice }, person))
  })
  app.get('/desk/search', async (c) => {
    const words = oneLine(c.req.query('q') ?? '').slice(0, 200)
    const found = words ? await reviews.search(words, 50) : undefined
    return page(c, await searchPage(parts, words, found, c.get('person')!))
  })
  app.get('/desk/:id', async (c) => {
    const id = c.req.param('id')
    const key = c.req.query('key') ?? ''
    const person = c.get('person') ?? room.linked(c, id, key)
    if (typeof person === 'string') return room.refuseKey(c, person)
    const found = await reviews.find(id)
    if (!found) return refuse(c, 404, 'Not there', 'No payment has this address, or it is not in the database yet.')
    const { last, before } = await reviews.card(found.payment)
    const why = parts.isBlind(found.payment) ? undefined : await room.why(found.payment)
    if (person.via === 'link') {
      const shown = { ...found, why, last: last.slice(0, MOST_BY_LINK), before, fields: { key } }
      return page(c, await paymentPage(parts, { ...shown, name: access.nameOf(c) }, person))
    }
    const tab = tabOf(c.req.query('tab'))
    const order = await reviews.order(tab, MOST)
    const at = order.findIndex((one) => identity(one) === identity(found.payment))
    const notice = await noticeOf(person, c.req.query('done'), tab)
    const [next, previous] = [order[at + 1], order[at - 1]]
    const way = { next: next ? idOf(next) : '', previous: previous ? idOf(previous) : '' }
    const shown = { ...found, why, last, before, fields: fields(person, id, tab), notice, ...way }
    return page(c, await paymentPage(parts, shown, person))
  })
}
