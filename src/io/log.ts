import { createRequire } from 'node:module'
import { type Logger, pino, stdTimeFunctions } from 'pino'
import type { build } from 'pino-pretty'
import { maskCards } from '../card.ts'
import { reason } from './errors.ts'
import { parse, stringify } from './json.ts'
import { plural } from './text.ts'

/**
 * The log: one line an event on stdout, written before the call returns. JSON, or readable text on a terminal. Every
 * run of digits that could be a card number loses all but its last four, however deep it is.
 */
export function logger(level: string): Logger {
  const { isTTY } = process.stdout
  return pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: (error) => scrub(error) }, // pino's own prints all that an error carries
      hooks: {
        logMethod(args, method) {
          method.apply(this, args.map((arg) => scrub(arg)) as Parameters<typeof method>)
        },
        streamWrite: (line) => `${stringify(scrub(parse(line)))}\n`, // what children were bound to comes by here only
      },
    },
    isTTY
      ? pretty()({
          sync: true,
          colorize: !process.env.NO_COLOR,
          translateTime: 'SYS:HH:MM:ss',
          messageFormat: '{if stage}{stage}: {end}{msg}',
          ignore: 'stage',
        })
      : unbroken(),
  )
}

/** Loaded where people look: it has more modules than pino. */
const pretty = () => createRequire(import.meta.url)('pino-pretty') as typeof build

/** tenths of a second that a line waits while nobody reads; bytes that are kept until somebody does, what is over is left out */
const [PATIENCE, KEPT] = [5, 1_000_000]

/** A log that cannot be written, as on a full disk or into a pipe that nobody reads, costs lines, and nothing else. */
function unbroken() {
  let waited = 0
  const out = pino.destination({ dest: 1, sync: true, maxLength: KEPT, retryEAGAIN: () => ++waited <= PATIENCE })
  out.on('error', () => {})
  out.on('write', (bytes) => {
    if (bytes > 0) waited = 0
  })
  return {
    write(line: string) {
      try {
        out.write(line)
      } catch {}
    },
  }
}

/** values in one line, and how deep they may be: whatever is logged, it stays a line */
const [MOST, DEEPEST] = [2000, 8]

/**
 * A copy of a value without card numbers; an error becomes its messages and its stack, nothing else that it carries, and
 * bytes, which may spell anything, how many they are.
 */
export function scrub(value: unknown): unknown {
  let left = MOST
  function copy(value: unknown, depth: number): unknown {
    if (left-- <= 0) return '…'
    if (typeof value === 'string') return maskCards(value)
    if (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) {
      const masked = maskCards(String(value))
      return typeof value === 'number' && masked === String(value) ? value : masked
    }
    if (typeof value !== 'object' || value === null) return value
    if (depth > DEEPEST) return '…'
    if (value instanceof Error) return { err: maskCards(reason(value)), stack: maskCards(String(value.stack ?? '')) }
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `(${plural(value.byteLength, 'byte')})`
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
    if (value instanceof URL) return maskCards(value.host)
    if (isBoxed(value)) return copy(value.valueOf(), depth + 1)
    const items = value instanceof Map || value instanceof Set ? [...value] : value
    if (Array.isArray(items)) return fewOf(items).map((item) => copy(item, depth + 1))
    const entries = fewOf(Object.entries(items))
    return Object.fromEntries(entries.map(([key, item]) => [maskCards(key), copy(item, depth + 1)]))
  }
  const fewOf = <T>(items: T[]) => items.slice(0, Math.max(0, left))
  try {
    return copy(value, 0)
  } catch (error) {
    return maskCards(`(cannot be read: ${reason(error)})`) // a getter or a proxy that throws
  }
}
const isBoxed = (value: object) => [String, Number, BigInt].some((type) => value instanceof type)
