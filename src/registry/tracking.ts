import type { z } from '../config/zod.cjs'
import { HttpFailure } from '../io/errors.ts'
import { glimpse, type HttpAnswer, isHtml, request } from '../io/http.ts'
import { below } from '../score/mlflow.ts'

/** ms that MLflow has for an answer; bytes that one has */
const [WITHIN, MOST] = [10_000, 4 * 2 ** 20]

export type Tracking = ReturnType<typeof openTracking>
type Query = Record<string, string>

/** The user's MLflow server: its REST API, which is the same from 2.x on. What it cannot answer is thrown as an outage. */
export function openTracking(tracking: URL, { within = WITHIN } = {}) {
  const base = new URL(tracking)
  const login = base.username && `${decodeURIComponent(base.username)}:${decodeURIComponent(base.password)}`
  Object.assign(base, { username: '', password: '' })
  const headers = login ? { authorization: `Basic ${Buffer.from(login).toString('base64')}` } : {}

  async function ask(path: string, query: Query, body?: string): Promise<HttpAnswer> {
    const url = below(base, path)
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
    const signal = new AbortController().signal
    const told = { url, headers, ...(body !== undefined && { body }), deadline: within, maxAnswer: MOST, signal }
    return request(told).catch((cause) => {
      throw new Error(`cannot reach MLflow at ${base.host}`, { cause })
    })
  }
  function failed(answer: HttpAnswer, what: string): HttpFailure {
    const { status } = answer
    const cure = {
      401: 'MLFLOW_TRACKING_URI wants user:password@ before its host',
      403: 'the user in MLFLOW_TRACKING_URI may not',
    }[status]
    return new HttpFailure(`MLflow answered ${status} to ${what} (${glimpse(answer)})`, {
      kind: 'status',
      status,
      cure,
    })
  }
  /** Undefined: there is none, as MLflow itself says. */
  function read<T>(answer: HttpAnswer, path: string, schema: z.ZodType<T>): T | undefined {
    const said = isHtml(answer.text) ? undefined : parsed(answer.text)
    const { error_code: code } = (said ?? {}) as { error_code?: unknown }
    if ([400, 404].includes(answer.status) && ABSENT.some((one) => one === code)) return undefined
    if (answer.status !== 200) throw failed(answer, path)
    const found = schema.safeParse(said)
    if (!found.success) throw failed(answer, `${path} what is none of its answers`)
    return found.data
  }
  return {
    host: base.host,
    get: async <T>(path: string, query: Query, schema: z.ZodType<T>) =>
      read(await ask(`api/2.0/mlflow/${path}`, query), path, schema),
    post: async <T>(path: string, given: unknown, schema: z.ZodType<T>) =>
      read(await ask(`api/2.0/mlflow/${path}`, {}, JSON.stringify(given)), path, schema),
    /** A file of a model version; undefined: there is none. */
    async file(name: string, version: string, path: string): Promise<string | undefined> {
      const answer = await ask('model-versions/get-artifact', { name, version, path })
      if (answer.status === 200 && !isHtml(answer.text)) return answer.text
      if (answer.status === 404) return undefined
      throw failed(answer, path)
    },
  }
}

/** What MLflow says of what it does not have: of an alias it is the second. */
const ABSENT = ['RESOURCE_DOES_NOT_EXIST', 'INVALID_PARAMETER_VALUE']
/** Undefined where it is none of its answers. */
function parsed(text: string): object | undefined {
  try {
    const said: unknown = JSON.parse(text)
    return typeof said === 'object' && said !== null ? said : undefined
  } catch {
    return undefined
  }
}
