import { shownServer } from '../config/dsn.ts'

/** An outage that says what to do about it: `cure`, after what it is. */
export class Outage extends Error {
  readonly what: string
  readonly cure: string | undefined
  /** ms to wait at least, e.g. by Retry-After */
  readonly wait: number
  /** a record was refused alone: only another one beside it can tell whether it is bad */
  readonly alone: boolean
  constructor(what: string, { cause, cure, wait = 0, alone = false }: OutageOptions = {}) {
    super(cure ? `${what}: ${cure}` : what, { cause })
    this.what = what
    this.cure = cure
    this.wait = wait
    this.alone = alone
  }
}
type OutageOptions = { cause?: unknown; cure?: string | undefined; wait?: number; alone?: boolean }

/**
 * No answer that is any use. `refused`: the connection was never made, and nothing sent; `cut`: it broke off after that.
 * `status`: what the answer was. `page`: it was one for people. `code`: of the system, if it has one.
 */
export class HttpFailure extends Outage {
  readonly kind: 'refused' | 'timeout' | 'cut' | 'too-large' | 'status'
  readonly status: number | undefined
  readonly page: boolean
  readonly code: string | undefined
  constructor(what: string, { kind, status, page = false, code, ...more }: HttpOptions) {
    super(what, more)
    this.kind = kind
    this.status = status
    this.page = page
    this.code = code
  }
}
type HttpOptions = OutageOptions &
  Pick<HttpFailure, 'kind'> & { status?: number; page?: boolean; code?: string | undefined }

/** The other side answered, and said no to these records. Any other error is an outage and says nothing of them. */
export class Refusal extends Error {}

/** A file is not what it was when it was closed; the message says what to do. */
export class FileFault extends Error {}
/** Its pages make no sense. */
export class DamagedFile extends FileFault {}

/** What stands in the way of a letter, as far as a program has to know it. */
export type Obstacle = 'no server' | 'unreachable' | 'unencrypted' | 'login refused' | 'login missing' | 'login put off'

/**
 * Why a letter was not taken. `scope`: what is the cause, and so who else is concerned: the channel, the message alone, or either.
 * `delivered`: may it have arrived all the same? `retryAfter`: ms to wait at least, as the other side has said. `code`: what causeOf says of it.
 */
type Sending = {
  scope: 'channel' | 'message' | 'either'
  delivered?: 'no' | 'maybe'
  retryAfter?: number
  obstacle?: Obstacle | undefined
  code?: string | undefined
}
export class SendFailure extends Error {
  readonly scope: 'channel' | 'message' | 'either'
  readonly delivered: 'no' | 'maybe'
  readonly retryAfter: number
  readonly obstacle: Obstacle | undefined
  readonly code: string | undefined
  constructor(message: string, { scope, delivered = 'no', retryAfter = 0, obstacle, code }: Sending) {
    super(message)
    this.scope = scope
    this.delivered = delivered
    this.retryAfter = retryAfter
    this.obstacle = obstacle
    this.code = code
  }
}

/** A commit or a note came too late: another process leads, or reads, under this name now, and has what was in hand here. */
export class TakenOver extends Error {
  constructor(name: string) {
    super(`another process has taken over as ${name}`)
  }
}

/** Connections are handed around between clients: locks, LISTEN and settings of a session hold nothing. */
export class Pooled extends Error {
  constructor(url: URL) {
    super(`${shownServer(url)}: this is a pooler in transaction mode: connect directly, or use session mode`)
  }
}

/** The database was written by a newer program. */
export class NewerSchema extends Error {}

/** Data that is too large for one text or buffer: the world's, not the program's. */
const TOO_LARGE = /^Invalid (string|array|array buffer|typed array) length|^Array buffer allocation failed/

/** What waiting cannot heal: a mistake in the program, not in the world. */
export function isBug(error: unknown): boolean {
  const bugs = [TypeError, ReferenceError, RangeError, SyntaxError]
  for (let e = error; e instanceof Error; e = e.cause)
    if (bugs.some((bug) => e instanceof bug) && !TOO_LARGE.test((e as Error).message)) return true
  return !(error instanceof Error)
}

/** An error and its causes, which may go round in a circle. */
export const causes = (error: unknown): Error[] => {
  const found: Error[] = []
  for (let e = error; e instanceof Error && !found.includes(e); e = e.cause) found.push(e)
  return found
}

/** The message of an error and of its causes, in one line. */
export function reason(error: unknown): string {
  const parts: string[] = []
  for (const e of causes(error)) {
    const said = e.message || String((e as NodeJS.ErrnoException).code ?? e.name) // an AggregateError has no message
    if (!parts.includes(said)) parts.push(said)
  }
  return (parts.length > 0 ? parts.join(': ') : String(error)).replace(/\s+/g, ' ')
}

/** One of few words for what went wrong: a label of a metric must not grow with what a server says. */
export function causeOf(error: unknown): string {
  for (const e of causes(error)) {
    if (e instanceof Refusal) return 'refused'
    if (e instanceof HttpFailure && e.status !== undefined) return `http_${e.status}`
    if (e instanceof HttpFailure && e.kind === 'timeout') return 'timeout'
    const { code } = e as { code?: unknown }
    // Of the system, of PostgreSQL, or what a way says of its failure.
    if (typeof code === 'string' && /^(E[A-Z]{3,20}|\d[\dA-Z]{4}|http_\d{3}|timeout)$/.test(code)) return code
  }
  return 'other'
}
