import type { Config } from '../config/settings.ts'
import { HttpFailure, Outage, Refusal, reason } from '../io/errors.ts'
import { isHtml, request } from '../io/http.ts'
import { through } from '../io/proxy.ts'
import { seconds } from '../io/text.ts'
import type { Judgement } from '../score/answer.ts'
import { below } from '../score/mlflow.ts'
import { Foreign, Unreadable } from '../score/unreadable.ts'
import { type Finding, failure, note, ok, type Target, wrong } from './check.ts'
import { allFraud, classesOnly, flaggedOf, narrowTypes, sameInBothUnits } from './judgements.ts'
import { ANSWER_WITHIN, FRAUDS, HONEST, openProbe, type Probe, shown } from './probe.ts'
import { whyRefused } from './refusal.ts'
import { columnsFor } from './registry.ts'

/** ms for /ping and /version */
const PING_WITHIN = 15_000
/** ms for the first answer of a model that may have to be loaded */
const LOAD_WITHIN = 600_000

/** Is it there, does it judge the rows that the worker sends, and are its judgements plausible? */
export function model(config: Config): Target {
  return {
    name: 'model',
    within: LOAD_WITHIN + 4 * ANSWER_WITHIN,
    async look(signal) {
      const { MODEL_URL: url } = config
      if (!url) return [note('MODEL_URL is not set: a simulated model judges')]
      const ping = await get(below(url, 'ping'), config, signal).catch((error: Error) => error)
      const late = ping instanceof HttpFailure && ping.kind === 'timeout'
      if (ping instanceof Error && !late) return [unreachable(ping, url)]
      const loaded = !(ping instanceof Error) && ping.status === 200
      const columns = await columnsFor(config, config.MODEL_FEATURES, config.MODEL_NAME).catch((error: Error) => error)
      if (columns instanceof Error) return [failure(columns, 'MLFLOW_TRACKING_URI', 'MODEL_FEATURES=auto')]
      const settled = { ...config, MODEL_FEATURES: columns }
      const probe = openProbe(settled, url, loaded ? ANSWER_WITHIN : LOAD_WITHIN, signal)
      const began = performance.now()
      try {
        const said = await probe.judge(probe.features)
        const took = seconds(performance.now() - began)
        return await examine(probe, said, `${await version(url, config, signal)}${said.length} rows in ${took} s`)
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof Refusal) return [await whyRefused(probe, error)]
        if (error instanceof Unreadable && !(error instanceof Foreign))
          return [wrong(`${probe.where}: ${error.what}`, error.cure!)]
        return [await outage(error as Error, config, url, signal)]
      }
    },
  }
}

async function examine(probe: Probe, said: readonly Judgement[], how: string): Promise<Finding[]> {
  const honest = said.slice(0, HONEST)
  const flagged = flaggedOf(honest)
  const other = probe.features.includes('unix_time')
    ? await probe.judge(probe.features, probe.unit === 's' ? 'ms' : 's').catch(() => undefined)
    : undefined
  const signature = await narrowTypes(probe)
  const text = `${probe.where}: ${how}, ${flagged} of ${HONEST} honest-looking and ${flaggedOf(said) - flagged} of ${FRAUDS} fraudulent-looking ones taken for fraud`
  if (flagged > HONEST / 2) return [allFraud(probe, honest, other?.slice(0, HONEST)), ...signature]
  return [ok(text), ...classesOnly(probe, said), ...signature, ...sameInBothUnits(probe, said, other)]
}

const get = (url: URL, { MODEL_HEADERS: headers }: Config, signal: AbortSignal) =>
  request({ url, headers, deadline: PING_WITHIN, maxAnswer: 1e6, signal })

/** `MLflow 3.17.2, `, if it says so. */
async function version(url: URL, config: Config, signal: AbortSignal): Promise<string> {
  const answer = await get(below(url, 'version'), config, signal).catch(() => undefined)
  const named = answer?.status === 200 ? answer.text.trim().replace(/^"|"$/g, '') : ''
  return /^\d+\.\d+[\w.]{0,20}$/.test(named) ? `MLflow ${named}, ` : ''
}

const unreachable = (error: Error, url: URL) =>
  failure(error, 'MODEL_URL', `${shown(url)}: cannot reach the model${through(url)}`, url)

/** An answer that is none of a model. */
async function outage(error: Error, config: Config, url: URL, signal: AbortSignal): Promise<Finding> {
  const text = `${shown(url)}: ${error instanceof Outage && error.cure ? error.what : reason(error)}`
  const { status = error instanceof Foreign ? 200 : 0, kind } = error as Partial<HttpFailure>
  const bad = (cure: string) => wrong(text, cure)
  if (status === 401 || status === 403)
    return bad(
      Object.keys(config.MODEL_HEADERS).length > 0
        ? 'MODEL_HEADERS is not accepted: check the token in it'
        : 'it wants a login: set MODEL_HEADERS, e.g. {"Authorization":"Bearer …"}',
    )
  if (status >= 300 && status < 400) return bad('set MODEL_URL to the new address (often the same with https://)')
  if (status === 502 || status === 503 || status === 429)
    return bad('it is there and not ready: look at the model server')
  if (kind === 'timeout')
    return bad(`${HONEST + FRAUDS} rows should take less than a second: look at the model server and its machine`)
  if (!status) return unreachable((error.cause as Error) ?? error, url)
  for (const base of bases(url)) {
    const answer = await get(below(base, 'ping'), config, signal).catch(() => undefined)
    if (answer?.status === 200 && !isHtml(answer.text))
      return bad(`set MODEL_URL=${base.protocol}//${shown(base)}: there a model server answers`)
  }
  return bad(
    'MODEL_URL must be the base URL of an MLflow model server (mlflow models serve), without /invocations; the tracking server is another one',
  )
}

/** The same without the end of the path, down to the host alone. */
function bases(url: URL): URL[] {
  const parts = url.pathname.split('/').filter(Boolean)
  return parts.map((_, i) => Object.assign(new URL(url), { pathname: parts.slice(0, -1 - i).join('/') }))
}
