import { type Logger, pino, stdTimeFunctions } from 'pino'
import pretty from 'pino-pretty'
import { maskCards } from './card.ts'
import { parse, stringify } from './json.ts'
import { reason } from './stage.ts'

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
      ? pretty({
          sync: true,
          colorize: !process.env.NO_COLOR,
          translateTime: 'SYS:HH:MM:ss',
          messageFormat: '{if stage}{stage}: {end}{msg}',
          ignore: 'stage',
        })
      : unbroken(),
  )
}

/** A log that cannot be written, as on a full disk, costs lines, and nothing else. */
function unbroken() {
  const out = pino.destination({ dest: 1, sync: true })
  out.on('error', () => {})
  return {
    write(line: string) {
      try {
        out.write(line)
      } catch {}
    },
  }
}

/** A copy of a value without card numbers; an error becomes its messages and its stack, nothing else that it carries. */
export function scrub(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return maskCards(value)
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) {
    const masked = maskCards(String(value))
    return typeof value === 'number' && masked === String(value) ? value : masked
  }
  if (value instanceof Error) return { err: maskCards(reason(value)), stack: maskCards(value.stack ?? '') }
  if (typeof value !== 'object' || value === null) return value
  if (depth > 8) return '…'
  if (value instanceof Map || value instanceof Set) return scrub([...value], depth + 1)
  if (Array.isArray(value)) return value.map((item) => scrub(item, depth + 1))
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [maskCards(key), scrub(item, depth + 1)]))
}
