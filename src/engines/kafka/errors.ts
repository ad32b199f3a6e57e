import { findErrorBy } from '@platformatic/kafka'

/** ms without an answer after which it counts as a failure; the library would try for minutes */
const GIVE_UP = 15_000

/** What to look at, where that cannot be seen from what was said. */
const HINTS: [RegExp, string][] = [
  [/^SASL_AUTHENTICATION_FAILED/, 'look at KAFKA_USERNAME and KAFKA_PASSWORD'],
  [/^UNSUPPORTED_SASL_MECHANISM/, 'look at KAFKA_MECHANISM'],
  [/^ILLEGAL_SASL_STATE/, 'nobody logs in there: look at the port, and KAFKA_USERNAME'],
  [/^Connection closed/, 'it may want TLS, kafka+ssl://…, or a login, KAFKA_USERNAME'],
  [/^Broker requires TLS/, 'it wants kafka+ssl://…'],
  [/before secure TLS connection/, 'it may speak no TLS: look at the port'],
  [
    /^(COORDINATOR_|NOT_COORDINATOR|NOT_LEADER|LEADER_NOT|CONCURRENT_TRANS|UNSTABLE_OFFSET|NOT_ENOUGH_REPLICAS|UNKNOWN_TOPIC)/,
    'the brokers are starting, or too few of them are up',
  ],
  [
    /^(ILLEGAL_GENERATION|UNKNOWN_MEMBER|REBALANCE_IN|INVALID_PRODUCER_EPOCH|PRODUCER_FENCED)/,
    'the processes are sharing out the work anew',
  ],
  [/certificate/, 'look at KAFKA_CA, KAFKA_CERT and KAFKA_KEY'],
]

/** What went wrong, in a line: the library tells of failed attempts, and hides why they failed. */
export function explained(error: unknown): Error {
  const said = new Set<string>()
  let code: unknown // of what failed first
  const collect = (e: unknown) => {
    if (e instanceof AggregateError) e.errors.forEach(collect)
    else if (e instanceof Error && e.cause) collect(e.cause)
    else {
      said.add(words(e))
      code ??= (e as { code?: unknown } | undefined)?.code
    }
  }
  collect(error)
  const all = [...said]
  const hint = all.length === 1 && HINTS.find(([pattern]) => pattern.test(all[0]!))?.[1]
  return Object.assign(new Error(hint ? `${all[0]} (${hint})` : all.join('; ')), code === undefined ? {} : { code })
}
function words(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { apiId, serverErrorMessage, code } = error as {
    apiId?: string
    serverErrorMessage?: string | null
    code?: string
  }
  if (apiId) return serverErrorMessage ? `${apiId}: ${serverErrorMessage}` : apiId
  return error.message.replace(/\.$/, '') || String(code)
}

/** The broker's name for the error, if one of the errors has it. */
export const saysBroker = (error: unknown, ...names: string[]) =>
  names.some((apiId) => findErrorBy(error as Error, 'apiId', apiId) !== null)

/** Rejects when there is no answer in time; the work may go on. */
export async function within<T>(work: Promise<T>): Promise<T> {
  work.catch(() => {})
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => late.reject(Object.assign(new Error(`no answer for ${GIVE_UP / 1000} s`), { code: 'ETIMEDOUT' })),
    GIVE_UP,
  )
  return Promise.race([work, late.promise]).finally(() => clearTimeout(timer))
}
