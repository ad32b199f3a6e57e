import { randomUUID } from 'node:crypto'

/**
 * JSON whose integers keep every digit: an integer beyond ±(2^53 - 1) is a `bigint`, every other number a `number`.
 * A bare NaN, Infinity or -Infinity, as Python prints them, is null.
 *
 * The engine's own parser does the work. Before it runs, each long integer in the text is wrapped into a string that
 * starts with a mark no document can contain; afterwards those strings, and only those, become bigints.
 */
export type Json = null | boolean | number | bigint | string | Json[] | { [key: string]: Json }

/** 122 random bits for this process: a document that holds it cannot be made without reading our memory. */
const MARK = `${randomUUID()}#`
const NO_INTEGER = /^-?0|[.eE+]|.-/
const COLON = /\s*:/y
const [QUOTE, COMMA, MINUS, I, N, BACKSLASH] = [34, 44, 45, 73, 78, 92]
/** No bigint is made of more: that takes more than linear time. */
const MOST_DIGITS = 1000
/** characters; what is longer is no row */
const SMALL = 10_000
/** Nothing is nested deeper: what is can be read, but not printed. */
const MOST_DEPTH = 1000

const isDigit = (code: number) => code >= 48 && code <= 57
const isOfNumber = (code: number) =>
  isDigit(code) || code === 46 || (code | 32) === 101 || code === 43 || code === MINUS // . e E + -

/** Parses one JSON document. Throws a SyntaxError that does not repeat the text: it may hold card numbers. */
export function parse(text: string): Json {
  return (text.length < SMALL ? flat(text) : undefined) ?? exactly(text)
}

/** The most usual one, a row: nothing in it is nested, and no number too large. The engine reads it exactly then. */
function flat(text: string): Json | undefined {
  let value: { [key: string]: Json }
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object') return undefined
  for (const key in value) {
    const one = value[key]
    if (typeof one === 'number' ? !isSmall(one) : typeof one === 'object' && one !== null) return undefined
  }
  return value
}
const isSmall = (value: number | bigint) => value < 2 ** 53 && value > -(2 ** 53)

function exactly(text: string): Json {
  let safe = ''
  let done = 0
  let depth = 0
  const put = (instead: string, start: number, end: number) => {
    safe += text.slice(done, start) + instead
    done = end
  }
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) at = closingQuote(text, at)
    else if (opens(code)) {
      if (++depth > MOST_DEPTH) throw new SyntaxError(`nested more than ${MOST_DEPTH} deep`)
    } else if (closes(code)) depth--
    else if (isDigit(code) || code === MINUS) {
      const start = at
      while (isOfNumber(text.charCodeAt(at + 1))) at++
      if (at - start < 15) continue
      const token = text.slice(start, at + 1)
      if (NO_INTEGER.test(token)) continue
      if (token.length > MOST_DIGITS) throw new SyntaxError(`not a number: it has more than ${MOST_DIGITS} digits`)
      if (Number.isSafeInteger(Number(token))) continue
      COLON.lastIndex = at + 1
      if (COLON.test(text)) continue // a number as a key is refused, a string would not be
      put(`"${MARK}${token}"`, start, at + 1)
    } else if (code === N || code === I) {
      const name = code === N ? 'NaN' : 'Infinity'
      if (!text.startsWith(name, at)) continue
      put('null', text.charCodeAt(at - 1) === MINUS ? at - 1 : at, at + name.length)
      at = done - 1
    }
  }
  let value: Json
  try {
    value = JSON.parse(done > 0 ? safe + text.slice(done) : text) as Json
  } catch {
    throw new SyntaxError('not valid JSON')
  }
  return done > 0 ? unwrap(value) : value
}

/** Where the string that begins at `open` ends; the end of the text when it does not. */
function closingQuote(text: string, open: number): number {
  for (let at = text.indexOf('"', open + 1); at > 0; at = text.indexOf('"', at + 1)) {
    let escapes = at
    while (text.charCodeAt(escapes - 1) === BACKSLASH) escapes--
    if ((at - escapes) % 2 === 0) return at
  }
  return text.length
}

/** Makes bigints of the marked strings, in place. No recursion: a document may be nested deeper than the stack is. */
function unwrap(root: Json): Json {
  const top = [root]
  const open: (Json[] | { [key: string]: Json })[] = [top]
  const exact = (value: Json): Json => {
    if (typeof value === 'string' && value.startsWith(MARK)) return BigInt(value.slice(MARK.length))
    if (typeof value === 'object' && value !== null) open.push(value)
    return value
  }
  for (let box = open.pop(); box; box = open.pop()) {
    if (Array.isArray(box)) for (let i = 0; i < box.length; i++) box[i] = exact(box[i] as Json)
    else for (const key of Object.keys(box)) box[key] = exact(box[key] as Json)
  }
  return top[0] as Json
}

const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown } // Node has it, TypeScript's library not yet

/** With what the engine prints otherwise, copied only where there is some: a function called for each value takes longer. */
function printable(value: unknown): unknown {
  if (typeof value === 'bigint') return isSmall(value) ? Number(value) : rawJSON(value.toString())
  // Printed as an integer it would come back as a bigint.
  if (typeof value === 'number')
    return !isSmall(value) && Math.abs(value) < 1e21 ? rawJSON(value.toExponential()) : value
  if (typeof value !== 'object' || value === null || typeof (value as { toJSON?: unknown }).toJSON === 'function')
    return value
  if (Array.isArray(value)) return value.map(printable)
  const given = value as { [key: string]: unknown }
  let copy: typeof given | undefined
  for (const key in given) {
    const one = given[key]
    if (typeof one === 'string' || one === null || (typeof one === 'number' && isSmall(one))) continue
    const other = printable(one)
    if (other === one) continue
    copy ??= { ...given }
    copy[key] = other
  }
  return copy ?? value
}

/** Prints one JSON document; a bigint is printed as a number with all its digits. */
export function stringify(value: unknown): string {
  return JSON.stringify(printable(value))
}

/** Where what opens at `at` ends, a string, a list or an object, by quotes and brackets alone; -1 when it does not end. */
export function brackets(text: string, at: number): number {
  let depth = 0
  for (let i = at; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === QUOTE) i = closingQuote(text, i)
    else if (opens(code)) depth++
    else if (closes(code)) depth--
    // `{` and `[` are two before their counterparts
    if (depth === 0) return i < text.length && (code === QUOTE || code === text.charCodeAt(at) + 2) ? i + 1 : -1
  }
  return -1
}

/** What is between the commas, from `from` to `to`, by quotes and brackets alone: the rest is not checked. */
export function* pieces(text: string, from: number, to: number): Generator<readonly [from: number, to: number]> {
  let depth = 0
  let start = from
  for (let i = from; i < to; i++) {
    const code = text.charCodeAt(i)
    if (code === QUOTE) i = closingQuote(text, i)
    else if (opens(code)) depth++
    else if (closes(code)) depth--
    else if (code === COMMA && depth === 0) {
      yield [start, i]
      start = i + 1
    }
  }
  if (start > from || /\S/.test(text.slice(start, to))) yield [start, to]
}
const opens = (code: number) => code === 91 || code === 123 // [ {
const closes = (code: number) => code === 93 || code === 125 // ] }
