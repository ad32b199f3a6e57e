import type { Feature } from '../columns.ts'
import { HttpFailure, Outage, Refusal } from '../io/errors.ts'
import { glimpse, type HttpAnswer, isHtml, request } from '../io/http.ts'
import { stringify } from '../io/json.ts'
import { orProxy, through } from '../io/proxy.ts'
import type { Transaction } from '../transaction.ts'
import { type Judgement, openAnswers, Unproven } from './answer.ts'
import { diagnose } from './diagnose.ts'

/** ms for the first answer of a server: it may have to fetch and load the model first */
const FIRST_DEADLINE = 600_000
/** ms for any later one; the server itself gives up after 60 s */
const DEADLINE = 75_000
const MAX_ANSWER = 64 * 1024 * 1024
/** From that of a coffee to one that nobody spends. */
const AMOUNTS = [0.5, 5, 20, 60, 150, 400, 1000, 3000, 10_000, 1_000_000]

export type Model = {
  /**
   * One judgement for each transaction, in order. Throws Refusal when the model refused, or said nothing of some row;
   * Unreadable when it is not known what its answer means, any other error when it could not be asked.
   */
  judge(transactions: readonly Transaction[], signal: AbortSignal): Promise<Judgement[]>
}

export type Unit = 's' | 'ms'
export type MlflowOptions = {
  url: URL
  headers: Record<string, string>
  features: readonly Feature[]
  /** unit of unix_time as the model was trained */
  unixTimeUnit: Unit
  threshold: number
  /** the answer that means fraud, where that is not 1, a label that is known, or a probability */
  fraudValue?: string | undefined
  deadlines?: { first: number; later: number }
  /** bytes */
  maxAnswer?: number
}

/** What is asked: the scoring protocol. */
export function bodyOf(transactions: readonly Transaction[], features: readonly Feature[], unit: Unit): string {
  const value = (t: Transaction, feature: Feature) =>
    feature === 'unix_time' && unit === 'ms' ? t.event_time : t[feature]
  const data = transactions.map((t) => features.map((feature) => value(t, feature)))
  return stringify({ dataframe_split: { columns: features, data } })
}

export const below = (url: URL, path: string): URL =>
  Object.assign(new URL(url), { pathname: `${url.pathname.replace(/\/+$/, '')}/${path}` })

/** A model behind the MLflow scoring protocol (`mlflow models serve`, also SageMaker's and Databricks's). */
export function mlflow({
  url,
  headers,
  features,
  unixTimeUnit,
  threshold,
  fraudValue,
  deadlines,
  maxAnswer = MAX_ANSWER,
}: MlflowOptions): Model {
  const { first = FIRST_DEADLINE, later = DEADLINE } = deadlines ?? {}
  const invocations = below(url, 'invocations')
  const answers = openAnswers({ threshold, fraudValue })
  let known = false // this server has answered before

  /** It may come back as a new server, slow again at first, and with another model. */
  const gone = () => {
    known = false
    answers.forget()
  }

  /** The text of its answer, if that is a 200, or a 201 of a wrapper. */
  async function ask(transactions: readonly Transaction[], signal: AbortSignal): Promise<string> {
    const body = bodyOf(transactions, features, unixTimeUnit)
    const deadline = known ? later : first
    const answer = await request({ url: invocations, headers, body, deadline, maxAnswer, signal }).catch((cause) => {
      signal.throwIfAborted()
      if (cause instanceof HttpFailure && cause.kind === 'timeout')
        throw new HttpFailure(`the model is too slow${through(url)}`, { kind: 'timeout', cause })
      gone()
      throw new Error(`cannot reach the model${through(url)}`, { cause })
    })
    if (answer.status === 502 || answer.status === 503) gone() // a gateway without its server
    if (answer.status !== 200 && answer.status !== 201) throw refusalOrOutage(answer, features, orProxy(url))
    known = true
    return answer.text
  }

  /** What its numbers mean may show where it is asked about the same row with other amounts. */
  async function learn(row: Transaction, signal: AbortSignal) {
    const others = AMOUNTS.map((amt) => ({ ...row, amt }))
    try {
      answers.learn(await ask(others, signal), others.length)
    } catch (error) {
      throw error instanceof Refusal ? new Outage(error.message) : error // refused were rows that nobody sent
    }
  }

  return {
    async judge(transactions, signal) {
      const text = await ask(transactions, signal)
      try {
        return answers.read(text, transactions.length)
      } catch (error) {
        if (!(error instanceof Unproven)) throw error
        await learn(transactions[0]!, signal)
        return answers.read(text, transactions.length)
      }
    },
  }
}

/**
 * Any exception in predict is a 400, a timeout of the old server a 500, and AzureML and SageMaker say 424 of the model's own
 * failure: only other rows tell what is meant.
 */
function refusalOrOutage(answer: HttpAnswer, sent: readonly Feature[], orProxy: string): Error {
  const { status, retryAfter: wait } = answer
  const byProxy = orProxy !== '' && isHtml(answer.text) // and so no refusal of rows
  if (!byProxy && [400, 413, 422, 424, 500].includes(status))
    return new Refusal(`the model answered ${status}: ${diagnose(answer.text, sent)}`)
  if (status === 504)
    return new HttpFailure(`the model answered 504, it is too slow${orProxy}`, { kind: 'timeout', status, wait })
  const cure = {
    401: 'check MODEL_HEADERS',
    403: 'check MODEL_HEADERS',
    404: 'MODEL_URL is not the base URL of an MLflow model server',
  }[status]
  return new HttpFailure(`the model answered ${status} (${glimpse(answer)})${orProxy}`, {
    kind: 'status',
    status,
    page: isHtml(answer.text),
    wait,
    cure,
  })
}
