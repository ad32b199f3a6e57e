import { type Json, parse, pieces } from '../io/json.ts'
import { columnsAmong, type DeadLetter, readRow, type Transaction, type Unread } from '../transaction.ts'
import { formOf, type Rows, spans } from './form.ts'

/** bytes of rows after which what was read so far is handed over, and ms */
const PART = 2 * 2 ** 20
const TURN = 25
/** ms after which, once stopped, what is left is set aside unread: it is read again when it is put back */
const READ_WITHIN = 2000
/** bytes of rows in one dead letter that holds several: with quotes escaped still less than any Kafka takes */
const LETTER = 400 * 1024
/** bytes that the dead letters of a small body may have although that is more than the body has */
const SMALL = 4096

export type Received = {
  transactions: Transaction[]
  letters: DeadLetter[]
  /** rows that went into letters */
  bad: number
  /** columns that could not be read, or not as they came, and what was wrong */
  unread?: Map<string, string>
  /** it is no document: the one letter is the body */
  wholeBody?: true
  /** the body says that something is wrong, in these words */
  refused?: string
}

const nothing = (): Received => ({ transactions: [], letters: [], bad: 0 })

/** All of a body at once: see readInParts. */
export function readDocument(body: string, fetched_at: number): Received {
  const all = nothing()
  for (const { transactions, letters, bad, unread, ...others } of readInParts(body, fetched_at)) {
    for (const transaction of transactions) all.transactions.push(transaction)
    all.letters.push(...letters)
    all.bad += bad
    if (unread) all.unread = new Map([...(all.unread ?? []), ...unread])
    Object.assign(all, others)
  }
  return all
}

/**
 * Reads a body of the producer (its forms: formOf), part by part, so that a large one neither fills the memory nor holds
 * up the process. Columns are found by name. A row that is no transaction is set aside, its neighbours do not suffer; a
 * body that is no document becomes one dead letter as it is. All letters together take no more than twice the body.
 */
export function* readInParts(body: string, fetched_at: number, stop?: AbortSignal): Generator<Received> {
  let form: ReturnType<typeof formOf>
  try {
    form = formOf(body)
  } catch (error) {
    const reason = `the body is no document: ${(error as Error).message}`
    yield { ...nothing(), letters: [letter(fetched_at, reason, bodyOf(body))], wholeBody: true }
    return
  }
  if (form === 'nothing') return
  if ('refused' in form) {
    yield { ...nothing(), refused: form.refused }
    return
  }
  const rows = form
  const aside = openAside(rows, fetched_at, Buffer.byteLength(body))
  const read = rowReader(rows, fetched_at)
  const began = performance.now()
  let part = nothing()
  let [from, turn, n] = [rows.from, began, 0]
  for (const [start, end] of rows.lines ? spans(rows) : pieces(rows.text, rows.from, rows.to)) {
    if (start - from > PART || (++n % 64 === 0 && performance.now() - turn > TURN)) {
      yield part
      part = nothing()
      ;[from, turn] = [start, performance.now()]
      if (stop?.aborted && turn - began > READ_WITHIN) {
        aside.add(start, rows.to, 'not read, as the worker was stopping')
        break
      }
    }
    const found = read(rows.text.slice(start, end), (column, what) => {
      part.unread ??= new Map()
      part.unread.set(column, what)
    })
    if (typeof found === 'string') {
      aside.add(start, end, found)
      part.bad++
    } else part.transactions.push(found)
  }
  for (const letters of aside.letters()) {
    yield { ...part, letters }
    part = nothing()
  }
}

/** Reads one row from its text, or says why it is none: whatever is thrown over what came from outside ends here. */
function rowReader({ columns }: Rows, fetched_at: number) {
  const opening = columns ? '[' : '{'
  const wanted = `the row is not ${columns ? 'a list' : 'an object'}`
  let names: readonly string[] = [] // of the row before: most have the same
  let known: [column: string, i: number][] = []
  /** A name of a fork's is read as ours, and that is said: it may mean something else there. */
  function understand(others: readonly string[], unread: Unread) {
    if (others === names || (others.length === names.length && others.every((name, i) => name === names[i]))) return
    names = others
    known = [...columnsAmong(names)]
    for (const [column, i] of known) {
      const name = names[i]!.trim().toLowerCase()
      if (name !== column) unread(name, `is read as ${column}`)
    }
  }
  return (text: string, unread: Unread): Transaction | string => {
    if (!text.trimStart().startsWith(opening)) return wanted
    try {
      const row = parse(text) as Json[] | { [key: string]: Json }
      understand(columns ?? Object.keys(row), unread)
      const values = Object.values(row)
      if (values.length !== names.length) return `the row has ${values.length} values for ${names.length} columns`
      return readRow(Object.fromEntries(known.map(([column, i]) => [column, values[i]])), fetched_at, unread)
    } catch (error) {
      return `the row cannot be read${error instanceof SyntaxError ? `: ${error.message}` : ''}`
    }
  }
}

const letter = (at: number, reason: string, record: unknown): DeadLetter => ({ stage: 'fetch', at, reason, record })
const bodyOf = (body: string) => ({ body, bytes: Buffer.byteLength(body) })

/**
 * Collects the rows that are set aside: a letter for each, unless these would take more than the body. Then one letter
 * holds as many as go into it, as they came, under the header once. Each is a document that can be read again.
 */
function openAside({ text, columns, header, lines }: Rows, at: number, bytes: number) {
  type Group = { reason: string; count: number; spans: [number, number][]; size: number }
  let single: { start: number; end: number; reason: string }[] | undefined = []
  let size = 0
  const groups: Group[] = []
  const most = Math.max(LETTER, 8 * (header?.length ?? 0))
  const document = (rows: string) => {
    if (columns) return `{"columns":${header},"data":[${rows}]}`
    return lines ? rows : `[${rows}]`
  }

  function add(start: number, end: number, reason: string) {
    size += 100 + reason.length + (header?.length ?? 0) + end - start
    if (single && single.length > 0 && size > Math.max(bytes, SMALL)) {
      const before = single
      single = undefined
      for (const bad of before) group(bad.start, bad.end, bad.reason)
    }
    if (single) single.push({ start, end, reason })
    else group(start, end, reason)
  }
  function group(start: number, end: number, reason: string) {
    if ((groups.at(-1)?.size ?? most) >= most) groups.push({ reason, count: 0, spans: [], size: 0 })
    const last = groups.at(-1)!
    last.count++
    last.size += end - start
    const span = last.spans.at(-1)
    if (span && !lines && span[1] + 1 === start) span[1] = end
    else last.spans.push([start, end])
  }
  function alone({ start, end, reason }: { start: number; end: number; reason: string }): DeadLetter {
    const raw = text.slice(start, end)
    try {
      const row = parse(raw)
      const named = columns === undefined && row !== null && typeof row === 'object' && !Array.isArray(row)
      const record = named
        ? { columns: Object.keys(row), data: [Object.values(row)] }
        : { columns: columns ?? [], data: [row] }
      return letter(at, reason, record)
    } catch {
      return letter(at, reason, bodyOf(document(raw))) // no JSON: as it came
    }
  }
  function together({ reason, count, spans }: Group): DeadLetter {
    const rows = spans.map(([start, end]) => text.slice(start, end)).join(lines ? '\n' : ',')
    return letter(at, count === 1 ? reason : `${count} rows, the first: ${reason}`, bodyOf(document(rows)))
  }
  return {
    add,
    /** Some at a time, and none where there is none. */
    *letters(): Generator<DeadLetter[]> {
      if (single) yield single.map(alone)
      for (let i = 0; i < groups.length; i += 4) yield groups.slice(i, i + 4).map(together)
    },
  }
}
