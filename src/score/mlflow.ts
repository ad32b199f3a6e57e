import { glimpse, type HttpAnswer, Late, request } from '../http.ts'
import { Refusal } from '../isolate.ts'
import { stringify } from '../json.ts'
import { Outage } from '../stage.ts'
import type { Feature, Transaction } from '../transaction.ts'
import { type Judgement, readAnswer } from './answer.ts'
import { diagnose } from './diagnose.ts'

/** ms for the first answer of a server: it may have to fetch and load the model first */
const FIRST_DEADLINE = 600_000
/** ms for any later one; the server itself gives up after 60 s */
const DEADLINE = 75_000
const MAX_ANSWER = 64 * 1024 * 1024

/** The model did not finish in time: fewer rows may help. */
export class TooSlow extends Outage {}

export type Model = {
  /**
   * One judgement for each transaction, in order. Throws Refusal when the model answered but not with a judgement for
   * every row, any other error when it could not be asked.
   */
  judge(transactions: readonly Transaction[], signal: AbortSignal): Promise<Judgement[]>
}

export type MlflowOptions = {
  url: URL
  headers: Record<string, string>
  features: readonly Feature[]
  /** unit of unix_time as the model was trained */
  unixTimeUnit: 's' | 'ms'
  threshold: number
  deadlines?: { first: number; later: number }
}

/** A model behind the MLflow scoring protocol (`mlflow models serve`, also SageMaker's and Databricks's). */
export function mlflow({ url, headers, features, unixTimeUnit, threshold, deadlines }: MlflowOptions): Model {
  const { first = FIRST_DEADLINE, later = DEADLINE } = deadlines ?? {}
  const invocations = new URL(url)
  invocations.pathname = `${url.pathname.replace(/\/+$/, '')}/invocations`
  let known = false // this server has answered before

  const value = (t: Transaction, feature: Feature) =>
    feature === 'unix_time' && unixTimeUnit === 'ms' ? t.event_time : t[feature]

  return {
    async judge(transactions, signal) {
      const data = transactions.map((t) => features.map((feature) => value(t, feature)))
      const body = stringify({ dataframe_split: { columns: features, data } })
      const deadline = known ? later : first
      const answer = await request({ url: invocations, headers, body, deadline, maxAnswer: MAX_ANSWER, signal }).catch(
        (cause) => {
          signal.throwIfAborted()
          if (cause instanceof Late) throw new TooSlow('the model is too slow', { cause })
          known = false // it may come back as a new server, slow again at first
          throw new Error('cannot reach the model', { cause })
        },
      )
      if (answer.status === 200) {
        known = true
        return readAnswer(answer.text, transactions.length, threshold)
      }
      if (answer.status === 502 || answer.status === 503) known = false // a gateway without its server
      throw refusalOrOutage(answer)
    },
  }
}

/** Any exception in predict is a 400, a timeout of the old server a 500: only other rows tell what is meant. */
function refusalOrOutage(answer: HttpAnswer): Error {
  const { status, retryAfter: wait } = answer
  if (status === 400 || status === 413 || status === 422 || status === 500)
    return new Refusal(`the model answered ${status}: ${diagnose(answer.text)}`)
  if (status === 504) return new TooSlow('the model answered 504, it is too slow', { wait })
  const cure = {
    401: ': check MODEL_HEADERS',
    403: ': check MODEL_HEADERS',
    404: ': MODEL_URL is not the base URL of an MLflow model server',
  }[status]
  return new Outage(`the model answered ${status} (${glimpse(answer)})${cure ?? ''}`, { wait })
}
