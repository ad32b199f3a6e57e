import type pg from 'pg'
import { type Postgres, type Query, WHO } from './client.ts'

/** `othersFrom`: when this process may take over what another one had, in ms of `performance.now()`. */
export type Session = { query: Query; client: pg.Client; pid: unknown; othersFrom: number }

/**
 * A connection of its own that listens for new records and holds locks, made again when it broke. The one before is
 * ended on the server then, where it may still hold locks that belong here.
 *
 * When it broke, the server was probably away, and for the others too. The one whose turn it was comes back with work
 * in hand, mails that went out meanwhile for example: so it goes first. Its pauses are as long as the outage at most,
 * or twice that, and never longer than a minute.
 */
export function openSession(db: Postgres, notified: () => void) {
  let session: Session | undefined
  let opening: Promise<Session> | undefined
  let former: unknown[] | undefined
  let broke: number | undefined
  let othersFrom = 0

  async function open(): Promise<Session> {
    const client = await db.connect()
    let last: Promise<unknown> = Promise.resolve()
    const lost = () => {
      void client.end().catch(() => {})
      if (session !== opened) return
      session = undefined
      broke = performance.now()
      notified()
    }
    /** One after the other, as each has a deadline. None after a failure: nobody knows what it is in the middle of. */
    const query: Query = async (text, values) => {
      const asked = last.then(() => client.query(text, values))
      last = asked
      try {
        return (await asked).rows
      } catch (cause) {
        lost()
        throw new Error('the connection that listens and takes turns broke', { cause })
      }
    }
    const opened: Session = { query, client, pid: undefined, othersFrom: 0 }
    if (former)
      await query(
        'SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2',
        former,
      )
    const [me] = await query(WHO)
    opened.pid = me?.pid
    await query('LISTEN topics')
    former = [me?.pid, me?.backend_start]
    client.on('notification', notified).on('end', lost)
    if (broke !== undefined) {
      const now = performance.now()
      othersFrom = Math.max(othersFrom, now + Math.min(2 * (now - broke), 60_000) + 1000) // it may have broken again
      opened.othersFrom = othersFrom
    }
    session = opened
    return opened
  }
  return {
    async get(): Promise<Session> {
      if (session) return session
      opening ??= open().finally(() => {
        opening = undefined
      })
      return opening
    },
    async close() {
      await opening?.catch(() => {})
      await session?.client.end()
    },
  }
}
