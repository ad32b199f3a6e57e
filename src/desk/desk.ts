import { type Context, Hono } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { secureHeaders } from 'hono/secure-headers'
import { timeout } from 'hono/timeout'
import type { Logger } from 'pino'
import { maskCards } from '../card.ts'
import type { Care } from '../care/care.ts'
import { headline } from '../care/words.ts'
import { reason } from '../io/errors.ts'
import { nameIn } from '../review/labels.ts'
import { labelRoutes } from './labels.ts'
import { lookRoutes } from './look.ts'
import { modelRoutes } from './models.ts'
import { loginPage, recentRows } from './pages.ts'
import type { Choice } from './promote.ts'
import { type App, openRoom, type RoomOptions, withoutCards } from './room.ts'
import { sayRoutes } from './say.ts'
import { HEADERS } from './style.ts'

/** bytes; what is longer is read to its end all the same, up to a bound, or a browser would show no answer */
const [BODY_BYTES, MOST_READ] = [64 * 1024, 16 * 1024 * 1024]
/** ms; a database that is away is said before anybody wonders */
const WITHIN = 8000
const SILENT =
  'the database does not answer. What was just said may count all the same: the payment shows it, once it can'
const TOO_LONG = 'A form has 64 kB: a note 1,000 characters; longer lists of verdicts go in by npm run label.'

export type DeskOptions = RoomOptions & { log: Logger; care: Care; choice?: Choice | undefined }
export type Desk = ReturnType<typeof openDesk>

/** The pages under /desk. GET and HEAD change nothing: only a POST does that carries its key, from a page of ours. */
export function openDesk({ log, care, choice, ...options }: DeskOptions) {
  const room = openRoom(options)
  const { access, parts, page, refuse, stranger } = room
  const passwords = options.reviewers.length > 0
  const app: App = new Hono()
  app.onError(async (error, c) => {
    log.warn(`the desk: ${reason(error)}`)
    return refuse(c, 503, 'Not now', `${maskCards(reason(error))}. Try again.`)
  })
  app.use(secureHeaders(HEADERS), async (c, next) => {
    await next()
    c.header('cache-control', 'no-store')
  })
  // The library's own looks at the kind of a body, or believes one of two headers: a page elsewhere may choose both.
  app.use(async (c, next) => {
    if (c.req.method === 'GET' || c.req.method === 'HEAD') return next()
    if (!access.isOwn(c)) return refuse(c, 403, 'Not from here', 'The form was not of this desk. Open the page anew.')
    const form = await formIn(c).catch(() => undefined) // broken off: nobody is there to read what is said
    if (!form) return refuse(c, 413, 'Too long', TOO_LONG)
    c.set('form', form)
    return next()
  })
  app.get('/desk/login', async (c) => page(c, await loginPage(parts, '', passwords)))
  app.post('/desk/login', async (c) => {
    const form = c.get('form')
    const name = nameIn(form.get('name') ?? '')
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
  modelRoutes(app, room, care, choice)
  app.use(timeout(WITHIN, () => new HTTPException(503, { message: SILENT })))
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

/** What a form says, with or without a length before it; undefined: more than a form has. */
async function formIn({ req }: Context): Promise<URLSearchParams | undefined> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of req.raw.body ?? []) {
    size += part.length
    if (size <= BODY_BYTES) parts.push(part)
    if (size > MOST_READ) break
  }
  return size > BODY_BYTES ? undefined : new URLSearchParams(Buffer.concat(parts).toString())
}
