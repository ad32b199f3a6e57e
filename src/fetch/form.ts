import { maskedStart } from '../card.ts'
import { brackets, type Json, parse, pieces } from '../io/json.ts'
import { columnsAmong } from '../transaction.ts'

/**
 * Where the rows of a body are: between `from` and `to` of `text`, with commas between them, or one after the other
 * (`lines`, also when there is one; `byLine`: some of them are no JSON). With `columns` a row is a list of values, without them an object.
 */
export type Rows = {
  text: string
  from: number
  to: number
  lines?: true
  byLine?: true
  columns?: string[]
  header?: string
}
/** What a body is: rows, none at all, or an answer that says that something is wrong. */
export type Form = Rows | 'nothing' | { refused: string }

/** JSON inside JSON strings, or objects around the rows, so deep at most */
const DEPTH = 4
/** An object of more members is no wrapping. */
const MOST_MEMBERS = 10_000
const WRAPPINGS = ['data', 'transactions', 'transaction', 'results', 'result', 'records', 'rows', 'items', 'payload']
/** A list, an object, or text that holds one. */
const BOX = /^(?:[[{]|"(?:\s|\\[nrt])*(?:[[{]|\\"))/
const COMPLAINTS = ['error', 'errors', 'detail', 'message']

/**
 * Finds the rows of a body by brackets and quotes alone: pandas `split`, a list of objects, one object, one after the
 * other (JSON lines), any of them inside a JSON string or one more object. Throws an Error that names any other form.
 */
export function formOf(body: string, depth = 0): Form {
  const text = body.trim()
  if (text === '' || text === 'null') return 'nothing'
  if (text.startsWith('"')) {
    const inner = whole(text)
    if (depth >= DEPTH || typeof inner !== 'string') throw new Error('it is text inside text, again and again')
    return formOf(inner, depth + 1)
  }
  if (!/^[[{]/.test(text)) throw new Error(`it is ${kind(whole(text))}`)
  const end = brackets(text, 0)
  if (end < 0) throw new Error('not valid JSON')
  if (end < text.length) return linesOf(text)
  return text.startsWith('[') ? listOf(text, 0, end) : objectOf(text, depth)
}

function whole(text: string): Json {
  try {
    return parse(text)
  } catch {
    throw new Error('not valid JSON')
  }
}

function linesOf(text: string): Rows {
  const first = text.slice(0, brackets(text, 0))
  const isRow = first.startsWith('{') && columnsAmong([...membersOf(first).keys()]).size > 0
  if (!isRow && /^\s*[[{"]/.test(text.slice(first.length)))
    throw new Error('it is several documents, one after the other, and the first is no row')
  if (!isRow) throw new Error('not valid JSON')
  const lines = { text, from: 0, to: text.length, lines: true } as const
  for (const [at, end] of spans(lines)) if (text[at] !== '{' || end < 0) return byLine(lines, first)
  return lines
}

/** One that cannot be read costs no other, where each has a line of its own. */
function byLine(lines: Rows, first: string): Rows {
  if (!/^\s*\n/.test(lines.text.slice(first.length))) throw new Error('not valid JSON')
  return { ...lines, byLine: true }
}

/** Where each row is that is not between commas; -1 for an end that is missing. */
export function* spans({ text, byLine }: Rows): Generator<readonly [from: number, to: number]> {
  for (let at = 0; at < text.length; ) {
    const line = byLine ? text.indexOf('\n', at) : brackets(text, at)
    const end = byLine && line < 0 ? text.length : line
    yield [at, end]
    if (end < 0) return
    for (at = end; /\s/.test(text[at] ?? ''); ) at++
  }
}

function listOf(text: string, from: number, to: number): Form {
  const [first] = pieces(text, from + 1, to - 1)
  if (!first) return 'nothing'
  const begin = text.slice(...first).trimStart()[0]
  if (begin === '[') throw new Error('it is a list of lists, without the names of the columns')
  if (begin !== '{') throw new Error('it is a list, but not of objects')
  return { text, from: from + 1, to: to - 1 }
}

function objectOf(text: string, depth: number): Form {
  const members = membersOf(text)
  const value = (name: string) => members.get(name) ?? ''
  const filled = (name: string) => !['', 'null', '""', 'false', '0', '[]', '{}'].includes(value(name))
  if (members.size === 0) return 'nothing'
  if (members.has('columns')) return splitOf(value('columns'), value('data'))

  const known = columnsAmong([...members.keys()])
  if (known.has('cc_num') || known.size > 3) {
    if ([...known.values()].every((i) => /^[[{]/.test([...members.values()][i]!)))
      throw new Error(
        'it is an object of columns (pandas orient "columns" or "list"): orient "split" or "records" is read',
      )
    return { text, from: 0, to: text.length, lines: true }
  }
  const complaint = COMPLAINTS.find(filled)
  const around = WRAPPINGS.find((name) => filled(name) && BOX.test(value(name))) ?? onlyBox(members, complaint)
  if (around && depth < DEPTH) return formOf(value(around), depth + 1)
  if (complaint && !holdsRows(text)) return { refused: shown(value(complaint)) }
  if (WRAPPINGS.some((name) => members.has(name) && !filled(name))) return 'nothing'
  throw new Error(`it is an object with the keys ${namesOf([...members.keys()])}, of which none is known`)
}

function splitOf(header: string, data: string): Form {
  const columns = header.startsWith('[') ? whole(header) : undefined
  if (!Array.isArray(columns) || !columns.every((name) => typeof name === 'string'))
    throw new Error('it has no list "columns"')
  if (data === 'null') return 'nothing'
  if (!data.startsWith('[')) throw new Error('it has no list "data"')
  return { text: data, from: 1, to: data.length - 1, columns: columns as string[], header }
}

/** The text of each member of an object. */
function membersOf(text: string): Map<string, string> {
  const members = new Map<string, string>()
  let n = 0
  for (const [from, to] of pieces(text, 1, text.length - 1)) {
    const member = text.slice(from, to).trim()
    const colon = member.startsWith('"') ? brackets(member, 0) : -1
    const rest = colon < 0 ? '' : member.slice(colon).trimStart()
    const value = rest.slice(1).trim()
    if (!rest.startsWith(':') || !isOne(value)) throw new Error('not valid JSON')
    const name = String(whole(member.slice(0, colon)))
    if ((members.get(name) ?? value) !== value) throw new Error('it has two members with one name')
    members.set(name, value)
    if (++n > MOST_MEMBERS) throw new Error(`it is an object with more than ${MOST_MEMBERS} members`)
  }
  return members
}

/** One value, as far as its ends tell: what is between them is checked where it is read. */
function isOne(value: string): boolean {
  const closing = { '[': ']', '{': '}', '"': '"' }[value[0] ?? '']
  return closing ? value.length > 1 && value.endsWith(closing) : /^[-+.\w]+$/.test(value)
}

/** The only member that can hold rows. Beside a complaint it has to look as if it did, or be a list beside a message. */
function onlyBox(members: Map<string, string>, complaint: string | undefined): string | undefined {
  const boxes = [...members].filter(
    ([name, value]) =>
      /^[[{]/.test(value) &&
      (!complaint || (name !== complaint && holdsRows(value)) || (complaint === 'message' && value.startsWith('['))),
  )
  return boxes.length === 1 ? boxes[0]![0] : undefined
}
/** What does is never let go, whatever else is said. */
const holdsRows = (text: string) => /cc_num/i.test(text) && /\d{11}/.test(text)

const kind = (value: Json) => (typeof value === 'boolean' ? 'true or false' : 'a number')
const namesOf = (names: string[]) =>
  names
    .slice(0, 5)
    .map((name) => maskedStart(name, 40))
    .join(', ')
/** What JSON says, without its quotes and the ends of its lines. */
const shown = (text: string) =>
  maskedStart(
    text
      .slice(0, 1000)
      .replace(/^"|"$|\\[nrt]/g, ' ')
      .trim(),
    200,
  )
