import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { Pooled, TakenOver } from '../../io/errors.ts'
import { orAborted } from '../../run/loop.ts'
import type { LeaseName, ReaderName, Standby, TopicName } from '../../topic/topic.ts'
import type { Postgres, Query } from './client.ts'
import type { openSession, Session } from './session.ts'

/** ms after which a process that stands by asks again */
const LOOK_AGAIN = 1000

/** From when this process holds a lock until another one has held it: aborted then. */
export type Term = AbortController
type Shared = {
  db: Postgres
  session: Pick<ReturnType<typeof openSession>, 'get'>
  /** this process, as `holder` of positions */
  me: string
  url: URL
  log: Logger
  standby: Standby | undefined
}

/** What one process does at a time: the one that holds the lock of this name, as the `holder` of its position. */
export function openLock(
  { db, session, me, url, log, standby }: Shared,
  topic: TopicName | '',
  name: ReaderName | LeaseName,
) {
  let held: Session | undefined // what it was held with last, unless another process has had it since
  let term: Term = new AbortController()
  let taking: Promise<void> | undefined
  let standing = false
  function stand(by: boolean) {
    if (by !== standing) standby?.(name, by)
    standing = by
  }
  function lose() {
    held = undefined
    term.abort(new TakenOver(name))
  }
  /** Begins a term, but if the connection broke and nobody took over meanwhile. */
  async function take() {
    const moved = await db.transaction((query) =>
      query(
        `INSERT INTO topics.position AS p VALUES ($1, $2, 0, $3) ON CONFLICT (topic, reader)
         DO UPDATE SET holder = excluded.holder WHERE p.holder IS DISTINCT FROM excluded.holder RETURNING 1`,
        [topic, name, me],
      ),
    )
    if (moved.length > 0) lose()
    if (term.signal.aborted) term = new AbortController()
  }
  async function wait(signal: AbortSignal): Promise<Term> {
    for (let told = ''; ; ) {
      const current = await orAborted(signal, session.get())
      if (held === current) return term
      let state = `the process that had its turn as ${name} before the outage goes first; standing by`
      if (held || performance.now() >= current.othersFrom) {
        const [lock] = await orAborted(
          signal,
          current.query(
            "SELECT pg_try_advisory_lock(hashtext('client-predict'), hashtext($1)) AS mine, pg_backend_pid() AS pid",
            [name],
          ),
        )
        if (lock?.pid !== current.pid) throw new Pooled(url) // it was not at the start
        if (lock?.mine) {
          taking ??= take()
            .then(
              () => {
                held = current
                stand(false)
              },
              failing(`cannot take over as ${name}`),
            )
            .finally(() => {
              taking = undefined
            })
          await orAborted(signal, taking)
          if (told) log.info(`it is this process's turn as ${name}`)
          return term
        }
        lose()
        signal.throwIfAborted()
        state = `another process has its turn as ${name}; standing by`
      }
      stand(true)
      if (state !== told) log.info(state)
      told = state
      await sleep(LOOK_AGAIN, undefined, { signal }).catch(() => signal.throwIfAborted())
    }
  }
  return {
    /** Resolves once the lock is held, with the term. */
    hold: (signal: AbortSignal) =>
      wait(signal).catch((error) => {
        stand(false) // who cannot ask whose turn it is does not stand by
        throw error
      }),
    /** Moves the position, and refuses what belongs to an earlier term, or comes when the lock is another process's. */
    move: (to: bigint, of: Term) => async (query: Query) => {
      const moved = await query(
        `UPDATE topics.position SET "offset" = greatest("offset", $3)
         WHERE topic = $1 AND reader = $2 AND holder = $4 RETURNING 1`,
        [topic, name, to, me],
      )
      if (moved.length === 0) lose()
      if (moved.length === 0 || of !== term) throw of.signal.reason
    },
    /** Finds out that the term is over, if it is. */
    async look() {
      const [mine] = await db.query('SELECT FROM topics.position WHERE topic = $1 AND reader = $2 AND holder = $3', [
        topic,
        name,
        me,
      ])
      if (!mine) lose()
    },
  }
}

/** Says what failed, but for who has been taken over. */
export const failing = (what: string) => (cause: unknown) => {
  throw cause instanceof TakenOver ? cause : new Error(what, { cause })
}
