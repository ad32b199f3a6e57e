import { type Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { csrf } from 'hono/csrf'
import { HTTPException } from 'hono/http-exception'
import { secureHeaders } from 'hono/secure-headers'
import type { Logger } from 'pino'
import { maskCards } from '../card.ts'
import type { Care } from '../care/care.ts'
import { headline } from '../care/words.ts'
import { reason } from '../io/errors.ts'
import { oneLine } from '../notify/shown.ts'
import { labelRoutes } from './labels.ts'
import { lookRoutes } from './look.ts'
import { modelRoutes } from './models.ts'
import { loginPage, recentRows } from './pages.ts'
import { type App, openRoom, type RoomOptions, withoutCards } from './room.ts'
import { sayRoutes } from './say.ts'
import { HEADERS } from './style.ts'

const BODY_BYTES = 64 * 1024

export type Desk = ReturnType<typeof openDesk>

/** The pages under /desk. GET and HEAD change nothing: only a POST does that carries its key, from a page of ours. */
export function openDesk({ log, care, ...options }: RoomOptions & { log: Logger; care: Care }) {
  const room = openRoom(options)
  const { access, parts, page, refuse, stranger } = room
  const passwords = options.reviewers.length > 0
  const app: App = new Hono()
  app.onError(async (error, c) => {
    if (error instanceof HTTPException)
      return refuse(c, error.status, 'Not from here', 'The form was not of this desk. Open the page anew.')
    log.warn(`the desk: ${reason(error)}`)
    return refuse(c, 503, 'Not now', `${maskCards(reason(error))}. Try again.`)
  })
  app.use(secureHeaders(HEADERS), async (c, next) => {
    await next()
    c.header('cache-control', 'no-store')
  })
  app.use(
    bodyLimit({
      maxSize: BODY_BYTES,
      onError: (c) =>
        refuse(
          c,
          413,
          'Too long',
          'A form has 64 kB: a note 1,000 characters; longer lists of verdicts go in by npm run label.',
        ),
    }),
  )
  app.use(csrf({ origin: (_, c) => access.isOwn(c) }))
  app.get('/desk/login', async (c) => page(c, await loginPage(parts, '', passwords)))
  app.post('/desk/login', async (c) => {
    const form = new URLSearchParams(await c.req.text())
    const name = oneLine(form.get('name') ?? '').slice(0, 60)
    const done = await access.login(c, name, form.get('password') ?? '')
    if (done === true) return c.redirect('/desk', 303)
    const wrong = done === 'later' ? 'Too many were wrong: wait a minute.' : 'That is not it.'
    return page(c, await loginPage(parts, wrong, passwords), done === 'later' ? 429 : 401)
  })
  /** One payment may be seen with its link, everything else by whom the desk knows. */
  app.use('/desk/*', async (c, next) => {
    const person = access.who(c)
    if (person) c.set('person', person)
    else if (!c.req.path.startsWith('/desk/') || /^.desk.(search|bulk|labels|models)?$/.test(c.req.path))
      return stranger(c)
    return next()
  })
  labelRoutes(app, room)
  modelRoutes(app, room, care)
  lookRoutes(app, room)
  sayRoutes(app, room)
  app.notFound((c) => refuse(c, 404, 'Not there', 'There is /desk, /desk/search, and a page for each payment.'))
  return {
    fetch: app.fetch,
    /** How good the model is that judges now, in a line, once that is counted. */
    facts: () => headline(care.latest()?.boards[0]),
    /** The last payments, as rows for the front page: for whoever would see them here. */
    recent: async (c: Context) =>
      access.who(c) ? withoutCards(String(await recentRows(parts, await options.reviews.recent(20)))) : '',
  }
}
