import type { Feature } from '../columns.ts'
import type { Config } from '../config/settings.ts'
import { type HttpAnswer, request } from '../io/http.ts'
import { stringify } from '../io/json.ts'
import { type Judgement, Unproven } from '../score/answer.ts'
import { type RefusedColumns, refusedColumns } from '../score/diagnose.ts'
import { mlflow } from '../score/mlflow.ts'
import { population } from '../simulate/population.ts'
import { type Transaction, toTransaction } from '../transaction.ts'

/** ms for an answer of a model that is loaded; the worker gives it as long */
export const ANSWER_WITHIN = 75_000
export const HONEST = 100
export const FRAUDS = 20

export type Unit = 's' | 'ms'
/** The model as it is asked here: with the columns and the unit of MODEL_FEATURES and UNIX_TIME_UNIT, or with others. */
export type Patient = {
  where: string
  canary: readonly Transaction[]
  features: readonly Feature[]
  unit: Unit
  threshold: number
  /** As the worker asks. */
  judge(features: readonly Feature[], unit?: Unit): Promise<Judgement[]>
  /** The answer as it is. Never to be shown. */
  ask(features: readonly Feature[], unit?: Unit): Promise<HttpAnswer>
}

/** `first`: ms for the first answer. */
export function openPatient(config: Config, url: URL, first: number, signal: AbortSignal): Patient {
  const { MODEL_HEADERS: headers, MODEL_FEATURES: features, UNIX_TIME_UNIT, FRAUD_THRESHOLD: threshold } = config
  const canary = canaryRows()
  let deadline = first
  return {
    where: shown(url),
    canary,
    features,
    unit: UNIX_TIME_UNIT,
    threshold,
    async judge(columns, unitUsed = UNIX_TIME_UNIT) {
      const deadlines = { first: deadline, later: deadline }
      const options = { url, headers, features: columns, unixTimeUnit: unitUsed, threshold, deadlines }
      const judge = async (fraudValue: string | undefined) => {
        const asked = mlflow({ ...options, fraudValue })
        const said: Judgement[] = []
        for (let i = 0; i < canary.length; i += config.SCORE_BATCH_SIZE) {
          said.push(...(await asked.judge(canary.slice(i, i + config.SCORE_BATCH_SIZE), signal)))
          deadline = ANSWER_WITHIN
        }
        return said
      }
      return await judge(config.MODEL_FRAUD_VALUE).catch((error) => {
        if (!(error instanceof Unproven)) throw error
        return judge('1') // as long as it says nothing else: then it takes all for fraud
      })
    },
    ask(columns, unitUsed = UNIX_TIME_UNIT) {
      const value = (t: Transaction, column: Feature) =>
        column === 'unix_time' && unitUsed === 'ms' ? t.event_time : t[column]
      const data = canary.slice(0, config.SCORE_BATCH_SIZE).map((t) => columns.map((column) => value(t, column)))
      const body = stringify({ dataframe_split: { columns, data } })
      return request({ url: below(url, 'invocations'), headers, body, deadline: ANSWER_WITHIN, maxAnswer: 1e7, signal })
    },
  }
}

/** Simulated, of this moment: first the honest ones, then frauds. Every tenth card has 19 digits. */
function canaryRows(): Transaction[] {
  const world = population(1)
  const now = Date.now()
  return Array.from({ length: HONEST + FRAUDS }, (_, i) =>
    toTransaction(world.transaction(now - i * 1000, i >= HONEST), now),
  )
}

/** A model with a signature tells all of it in the refusal of a single column. */
export async function signatureOf({ ask }: Patient): Promise<Pick<RefusedColumns, 'signature' | 'foreign'>> {
  const answer = await ask(['amt']).catch(() => undefined)
  return refusedColumns(answer?.text ?? '')
}

export function below(url: URL, path: string): URL {
  const found = new URL(url)
  found.pathname = `${url.pathname.replace(/\/+$/, '')}/${path}`
  return found
}

/** Without user, password and query. */
export const shown = ({ host, pathname }: URL) => `${host}${pathname.replace(/\/+$/, '')}`
