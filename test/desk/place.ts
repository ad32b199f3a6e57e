import { DatabaseSync } from 'node:sqlite'
import type { Context } from 'hono'
import { onTestFinished } from 'vitest'
import { type CareOptions, openCare } from '../../src/care/care.ts'
import type { AccessOptions } from '../../src/desk/access.ts'
import { type DeskOptions, openDesk } from '../../src/desk/desk.ts'
import { openKeys } from '../../src/desk/keys.ts'
import { deskLinks } from '../../src/desk/room.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import { sqliteReviews } from '../../src/review/sqlite.ts'
import { openMonitor } from '../../src/status/monitor.ts'
import { statusServer } from '../../src/status/server.ts'
import type { Prediction } from '../../src/transaction.ts'
import { listeningLog, prediction, tempDir, waitFor } from '../rows.ts'

export const fraud = (n: number, changes: Partial<Prediction> = {}) =>
  prediction(n, { prediction: 1, score: 0.9, ...changes })
export const SECRET = 'a secret of sixteen'
export type Client = ReturnType<typeof client>
export type Asked = Context

/** A real file with these rows, and what people may ask of it; gone when the test is over. */
export async function openRows(rows: readonly Prediction[]) {
  const stack = new AsyncDisposableStack()
  onTestFinished(() => stack.disposeAsync())
  const dir = stack.use(await tempDir())
  const file = dir.file('fraud.db')
  const store = stack.adopt(sqliteStore(file), (s) => s.close())
  await store.insert(rows)
  const reviews = stack.adopt(sqliteReviews(file), (r) => r.close())
  const sql = (statement: string): Record<string, unknown>[] => {
    using db = new DatabaseSync(file)
    return db
      .prepare(statement)
      .all()
      .map((row) => ({ ...row }))
  }
  return { stack, dir, file, store, reviews, sql }
}

/** A real server with the desk, over a real file with these rows. */
export async function startDesk(
  rows: readonly Prediction[],
  {
    pair,
    ...options
  }: Partial<AccessOptions & Pick<DeskOptions, 'why' | 'choice' | 'zone'> & Pick<CareOptions, 'pair'>> = {},
) {
  const { stack, file, store, reviews, sql } = await openRows(rows)
  const { log, text } = listeningLog()
  const keys = openKeys(SECRET)
  const care = openCare({ reviews, rules: { reviewCost: 2 }, pair })
  const why = async () => undefined
  const desk = openDesk({
    care,
    why,
    keys,
    reviewers: [],
    proxies: [],
    local: true,
    zone: 'UTC',
    log,
    reviews,
    ...options,
  })
  const watch = openMonitor(['record'])
  stack.use(statusServer({ host: '127.0.0.1', port: 0, log, watch, about: [], desk: () => desk }))
  const [, url = ''] = (await waitFor('the server', () => /status page: (http:\S+)\//.exec(text()))) as string[]
  return {
    ...{ url, file, store, reviews, keys, text, sql },
    link: deskLinks(new URL(url), keys),
    client: () => client(url),
    /** All that is in the database, as text. */
    dump() {
      using db = new DatabaseSync(file)
      const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").all()
      const all = tables.map(({ name }) => {
        const select = db.prepare(`SELECT * FROM ${name}`)
        select.setReadBigInts(true)
        return select.all()
      })
      return JSON.stringify(all, (_, value) => (typeof value === 'bigint' ? `${value}n` : value))
    },
  }
}

/** A browser without pictures: keeps cookies, follows redirects, sends forms as they stand in a page. */
export function client(url: string) {
  const cookies = new Map<string, string>()
  async function ask(
    path: string,
    { method = 'GET', body, headers = {} }: { method?: string; body?: string; headers?: Record<string, string> } = {},
  ) {
    const answer = await fetch(new URL(path, url), {
      method,
      redirect: 'manual',
      headers: {
        ...(cookies.size > 0 && { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') }),
        ...(method === 'POST' && { origin: new URL(url).origin, 'content-type': 'application/x-www-form-urlencoded' }),
        ...headers,
      },
      ...(body !== undefined && { body }),
    })
    for (const cookie of answer.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? []
      cookies.set(name, value)
    }
    const text = await answer.text()
    return { status: answer.status, text, headers: answer.headers, location: answer.headers.get('location') ?? '' }
  }
  type Answer = Awaited<ReturnType<typeof ask>>
  return {
    cookies,
    ask,
    get: (path: string) => ask(path),
    post: (path: string, fields: Record<string, string> | [string, string][], headers: Record<string, string> = {}) =>
      ask(path, { method: 'POST', body: new URLSearchParams(fields).toString(), headers }),
    async follow(answer: Answer): Promise<Answer> {
      return answer.status === 303 ? this.follow(await ask(answer.location)) : answer
    },
  }
}

/** What the form of a page that leads there would send. */
export function formOf(page: string, action: string): Record<string, string> {
  const form = page.split('<form').find((part) => part.includes(`action="${action}"`)) ?? ''
  const fields = [...form.split('</form>')[0]!.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)]
  return Object.fromEntries(fields.map(([, name, value]) => [name, value]))
}
