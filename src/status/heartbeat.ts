import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { reason } from '../io/errors.ts'
import { request } from '../io/http.ts'
import { MINUTE, utc } from '../io/time.ts'
import type { Monitor, Report } from './monitor.ts'

/** ms until the first call, between two, and for which a stage fails before that is told */
const [FIRST, EVERY, PATIENCE] = [10_000, MINUTE, 15 * MINUTE]
/** ms until the whole answer must be there; bytes of it */
const [DEADLINE, MAX_ANSWER] = [10_000, 64 * 1024]
/** characters of a message that goes into a URL */
const MAX_MESSAGE = 250

/**
 * Calls a service that raises the alarm when it hears nothing, or of a failure. It holds up nothing and fails nothing: a call
 * that is not taken is a line in the log, and another one when it is again. No line shows more of the URL than its host, as
 * the rest is a password.
 */
export function heartbeat(log: Logger, url: URL) {
  let refused = false
  /** `wrong`: what is, a line each. */
  async function tell(wrong: readonly string[], stop: AbortSignal) {
    try {
      const { status, text } = await request({ ...call(url, wrong), ...LIMITS, signal: stop })
      // healthchecks.io answers 200 to an address that it does not know.
      const unknown = /^OK \(not found\)/.test(text) ? ' that it does not know this address' : ''
      if (status >= 300 || unknown) throw new Error(`it answered ${status}${unknown}`)
      if (refused) log.info(`the heartbeat reaches ${url.host} again`)
      refused = false
    } catch (error) {
      if (refused || stop.aborted) return
      refused = true
      log.warn(
        `the heartbeat does not reach ${url.host}: ${reason(error)}; check HEARTBEAT_URL, each call is tried anew`,
      )
    }
  }
  return {
    tell,
    /** Once a minute while every stage of this process works, or one has failed for 15 minutes. In between it is silent. */
    async beat(
      { report }: Pick<Monitor, 'report'>,
      stop: AbortSignal,
      [first, every, patience] = [FIRST, EVERY, PATIENCE],
    ) {
      for (let next = performance.now() + first; ; next += every) {
        await sleep(Math.max(0, next - performance.now()), undefined, { signal: stop, ref: false }).catch(() => {})
        if (stop.aborted) return
        const said = await report()
        const wrong = failing(said, patience)
        if (said.ready || wrong.length > 0) await tell(wrong, stop)
      }
    },
  }
}

const LIMITS = { deadline: DEADLINE, maxAnswer: MAX_ANSWER }

/** As Uptime Kuma takes it, in the query; all others (healthchecks.io, Better Stack) take a failure at /fail, with the reason. */
function call(url: URL, wrong: readonly string[]) {
  const to = new URL(url)
  if (/\/api\/push\/[^/]+\/?$/.test(url.pathname)) {
    to.searchParams.set('status', wrong.length > 0 ? 'down' : 'up')
    to.searchParams.set('msg', wrong.join('; ').slice(0, MAX_MESSAGE) || 'OK')
    return { url: to }
  }
  if (wrong.length === 0) return { url }
  to.pathname = `${url.pathname.replace(/\/$/, '')}/fail`
  return { url: to, body: wrong.join('\n'), headers: { 'content-type': 'text/plain; charset=utf-8' } }
}

const failing = ({ rows, at }: Report, patience: number) =>
  rows
    .filter(({ stage }) => stage !== 'shadow') // nothing hangs on it
    .filter(({ state, since }) => (state === 'failing' || state === 'starting') && at - since >= patience)
    .map(({ stage, state, since, why }) => `${stage} is ${state} since ${utc(since, 16)} UTC${why ? `: ${why}` : ''}`)
