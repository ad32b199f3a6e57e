import { maskCards } from '../card.ts'
import { nameIn, noteIn } from '../review/labels.ts'
import { idOf, type Saying, VERDICTS, type Verdict, type Which } from '../review/reviews.ts'
import type { Person } from './access.ts'
import { MOST } from './look.ts'
import { bulkPage, stalePage } from './pages.ts'
import { type App, byLink, type Room } from './room.ts'

/** What is said: of one payment, or of many after a question. */
export function sayRoutes(app: App, room: Room) {
  const { reviews, access, parts, page, refuse, tabOf, fields } = room
  const verdictIn = (form: URLSearchParams): Verdict | undefined => VERDICTS.find((one) => one === form.get('verdict'))
  const saying = (of: Which, verdict: Verdict, person: Person, seen: string, note = ''): Saying => ({
    ...{ trans_num: of.trans_num, event_time: of.event_time, verdict, via: person.via, at: room.now(), seen },
    note: noteIn(note),
    reviewer: maskCards(person.name),
  })

  app.post('/desk/bulk', async (c) => {
    const form = c.get('form')
    const [person, verdict, tab] = [c.get('person')!, verdictIn(form), tabOf(form.get('tab'))]
    if (!verdict || !room.isForm(person, 'bulk', form.get('key') ?? '')) return room.refuseKey(c, 'wrong')
    const of = form.getAll('of').slice(0, MOST)
    const found = await reviews.chosen(of.map((one) => one.split('~')[0]!))
    const chosen = of.flatMap((one, i) => (found[i] ? [{ payment: found[i], seen: one.split('~')[1] ?? '' }] : []))
    if (chosen.length === 0) return c.redirect(`/desk?tab=${tab}`, 303)
    if (form.get('sure') !== 'yes') {
      const asked = { verdict, found: chosen.map(({ payment }) => payment), fields: fields(person, 'bulk', tab), of }
      return page(c, await bulkPage(parts, asked, person))
    }
    const said = await reviews.say(chosen.map(({ payment, seen }) => saying(payment, verdict, person, seen)))
    const done = said.filter((one) => 'review' in one).length
    return c.redirect(`/desk?tab=${tab}&said=${done}&stale=${said.length - done}`, 303)
  })

  app.post('/desk/:id', async (c) => {
    const id = c.req.param('id')
    const form = c.get('form')
    const [key, verdict, tab] = [form.get('key') ?? '', verdictIn(form), tabOf(form.get('tab'))]
    const known = c.get('person')
    const person = known && room.isForm(known, id, key) ? known : room.linked(c, id, key)
    if (typeof person === 'string' || !verdict) return room.refuseKey(c, 'wrong')
    const byName = person.via === 'link'
    if (byName) {
      const name = nameIn(form.get('name') ?? '') || access.nameOf(c)
      if (!name) return refuse(c, 400, 'Who are you?', 'Go back, and write your name beside the verdict.')
      access.keepName(c, name)
      person.name = byLink(name)
    }
    const found = await reviews.find(id)
    if (!found) return refuse(c, 409, 'Not there yet', 'The payment is not in the database yet: try again in a while.')
    const ids = byName ? [] : (await reviews.order(tab, MOST)).map(idOf)
    const note = form.get('note') ?? ''
    const [said] = await reviews.say([saying(found.payment, verdict, person, form.get('seen') ?? '', note)])
    const back = byName ? `?key=${key}` : `?tab=${tab}`
    if (said && 'stale' in said) {
      const shown = { stale: said.stale, verdict, note, fields: byName ? { key } : fields(person, id, tab), back }
      return page(c, await stalePage(parts, shown, person), 409)
    }
    if (byName || verdict === 'withdrawn') return c.redirect(`/desk/${id}${back}`, 303)
    const next = ids[ids.indexOf(id) + 1] ?? ids.find((other) => other !== id)
    return c.redirect(next ? `/desk/${next}${back}&done=${id}` : `/desk${back}&done=${id}`, 303)
  })
}
