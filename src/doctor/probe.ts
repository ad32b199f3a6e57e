import type { Feature } from '../columns.ts'
import type { Config } from '../config/settings.ts'
import { type HttpAnswer, request } from '../io/http.ts'
import { type Judgement, Unproven } from '../score/answer.ts'
import { type RefusedColumns, refusedColumns } from '../score/diagnose.ts'
import { below, bodyOf, mlflow, type Unit } from '../score/mlflow.ts'
import { population } from '../simulate/population.ts'
import { type Transaction, toTransaction } from '../transaction.ts'

/** ms for an answer of a model that is loaded; the worker gives it as long */
export const ANSWER_WITHIN = 75_000
export const HONEST = 100
export const FRAUDS = 20

/** The model as it is asked here: with the columns and the unit of MODEL_FEATURES and UNIX_TIME_UNIT, or with others. */
export type Probe = {
  where: string
  rows: readonly Transaction[]
  features: readonly Feature[]
  unit: Unit
  threshold: number
  /** As the worker asks. */
  judge(features: readonly Feature[], unit?: Unit): Promise<Judgement[]>
  /** The answer as it is. Never to be shown. */
  ask(features: readonly Feature[]): Promise<HttpAnswer>
}

/** `first`: ms for the first answer. */
export function openProbe(
  config: Config & { MODEL_FEATURES: readonly Feature[] },
  url: URL,
  first: number,
  signal: AbortSignal,
): Probe {
  const { MODEL_HEADERS: headers, MODEL_FEATURES, UNIX_TIME_UNIT, FRAUD_THRESHOLD: threshold } = config
  const { SCORE_BATCH_SIZE: size } = config
  const rows = simulatedRows()
  let deadline = first
  return {
    where: shown(url),
    rows,
    features: MODEL_FEATURES,
    unit: UNIX_TIME_UNIT,
    threshold,
    async judge(features, unixTimeUnit = UNIX_TIME_UNIT) {
      const deadlines = { first: deadline, later: deadline }
      const options = { url, headers, features, unixTimeUnit, threshold, deadlines }
      const judge = async (fraudValue: string | undefined) => {
        const asked = mlflow({ ...options, fraudValue })
        const said: Judgement[] = []
        for (let i = 0; i < rows.length; i += size) {
          said.push(...(await asked.judge(rows.slice(i, i + size), signal)))
          deadline = ANSWER_WITHIN
        }
        return said
      }
      return await judge(config.MODEL_FRAUD_VALUE).catch((error) => {
        if (!(error instanceof Unproven)) throw error
        return judge('1') // as long as it says nothing else: then it takes all for fraud
      })
    },
    ask(features) {
      const body = bodyOf(rows.slice(0, size), features, UNIX_TIME_UNIT)
      return request({ url: below(url, 'invocations'), headers, body, deadline: ANSWER_WITHIN, maxAnswer: 1e7, signal })
    },
  }
}

/** Simulated, of this moment: first the honest ones, then frauds. Every tenth card has 19 digits. */
function simulatedRows(): Transaction[] {
  const world = population(1)
  const now = Date.now()
  return Array.from({ length: HONEST + FRAUDS }, (_, i) =>
    toTransaction(world.transaction(now - i * 1000, i >= HONEST), now),
  )
}

/** A model with a signature tells all of it in the refusal of a single column. */
export async function signatureOf({ ask }: Probe): Promise<Pick<RefusedColumns, 'signature' | 'foreign'>> {
  const answer = await ask(['amt']).catch(() => undefined)
  return refusedColumns(answer?.text ?? '')
}

/** Without user, password and query. */
export const shown = ({ host, pathname }: URL) => `${host}${pathname.replace(/\/+$/, '')}`
