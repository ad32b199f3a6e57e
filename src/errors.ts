/** An outage that says what to do about it. */
export class Outage extends Error {
  /** ms to wait at least, e.g. by Retry-After */
  readonly wait: number
  /** a record was refused alone: only another one beside it can tell whether it is bad */
  readonly alone: boolean
  constructor(
    message: string,
    { cause, wait = 0, alone = false }: { cause?: unknown; wait?: number; alone?: boolean } = {},
  ) {
    super(message, { cause })
    this.wait = wait
    this.alone = alone
  }
}

/** The other side answered, and said no to these records. Any other error is an outage and says nothing of them. */
export class Refusal extends Error {}

/** A commit came too late: another process reads under this name now, and has what was in hand here. */
export class TakenOver extends Error {
  constructor(reader: string) {
    super(`another process has taken over as reader ${reader}`)
  }
}

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
const causes = (error: unknown): Error[] => {
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
