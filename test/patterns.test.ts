import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import treeSitter from '@vscode/tree-sitter-wasm'
import { analyse } from 'scslre'
import { expect, test } from 'vitest'

/**
 * Patterns that take more than linear time over some text, and why that text cannot be long. A pattern over text from
 * outside belongs here only when the text is cut right before it.
 */
const BOUNDED: Record<string, string> = {
  'src/io/http.ts /<title[^>]*>([^<]{1,300})/': 'the first 4,096 characters of an answer',
  'src/config/schemas.ts /(?:"(?:[^"\\\\]|\\\\.)*"|[^,])+/': 'the value of a setting',
  'src/config/shown.ts /^([a-z+]+:\\/\\/)?([^/?#\\\\]*)(.*)$/': 'the value of a setting',
  'src/config/shown.ts /(?=[\\p{L}\\p{N}]{6})(\\p{L}+\\p{N}|\\p{N}+\\p{L})/': 'the value of a setting',
  'src/simulate/names.ts /\\s*[|\\n]\\s*/': 'a text of the program',
  'src/score/mlflow.ts /\\/+$/': 'MODEL_URL',
  'src/doctor/probe.ts /\\/+$/': 'MODEL_URL',
  'src/doctor/check.ts /[\\dA-F]+:error:[\\dA-F]+:SSL routines:[^:]*:([^:]+):.*$/': 'cut to 2,000 characters',
  'src/doctor/check.ts /Kafka at .*(SASL|authenticat)/': 'cut to 2,000 characters',
  'src/doctor/check.ts /database ".*" does not exist/': 'cut to 2,000 characters',
  'src/doctor/check.ts /relation .* already exists/': 'cut to 2,000 characters',
}

const { Language, Parser } = treeSitter
await Parser.init()
const parser = new Parser()
const grammars = dirname(fileURLToPath(import.meta.resolve('@vscode/tree-sitter-wasm')))
parser.setLanguage(await Language.load(join(grammars, 'tree-sitter-typescript.wasm')))

const found = globSync('src/**/*.ts').flatMap((file) =>
  parser
    .parse(readFileSync(file, 'utf8'))!
    .rootNode.descendantsOfType('regex')
    .map((node) => {
      const [, source, flags] = /^\/(.*)\/([a-z]*)$/s.exec(node!.text)!
      return { name: `${file.replaceAll('\\', '/')} /${source}/`, source: source!, flags: flags! }
    }),
)

/** Texts that make it begin over and over: what stands in it, and what it may stumble over, again and again. */
function attacks(source: string): string[] {
  const aside = (sign: string) => String.fromCharCode(0xe000 + sign.charCodeAt(0))
  const back = (text: string) =>
    text.replace(/[\ue000-\ue0ff]/g, (sign) => String.fromCharCode(sign.charCodeAt(0) - 0xe000))
  const plain = source.replace(/\\([^a-zA-Z])/g, (_, sign) => aside(sign))
  const parts = plain.split(/\(\?[:=!<]*|\[[^\]]*\]|\\[a-zA-Z]|[()[\]{}|*+?^$]/).map(back)
  const beginnings = parts.map((_, i) => parts.slice(0, i + 1).join(''))
  const common = [' ', '\n', 'a', '1', '"', "'", '\\', '\\"', '<', '[', '-', '.', ':', 'é', '1 ', 'a1', '1a', '4111-']
  return [...new Set([...parts, ...beginnings, ...back(plain), ...common])].filter((part) => part !== '')
}

/** ms of this process's time that it takes over a text of so many characters. */
function cost(pattern: RegExp, part: string, length: number): number {
  const text = `${part.repeat(Math.ceil(length / part.length))}\u0001`
  const before = process.cpuUsage()
  text.replace(pattern, '')
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/**
 * Four times the text: four times the time, were it linear; sixteen times, were it quadratic. A busy machine only adds to
 * what it takes: the least of four looks is nearest to it. What goes back over some thousand characters at most grows
 * between the two, and no more with a longer text: that is looked at as well.
 */
function isSlow(pattern: RegExp, part: string): boolean {
  let [long, short] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
  for (let looks = 0; looks < 4; looks++) {
    long = Math.min(long, cost(pattern, part, 12_000))
    if (long <= 5) return false
    short = Math.min(short, cost(pattern, part, 3_000))
  }
  if (long <= 6 * short) return false
  for (let looks = 0; looks < 4; looks++) {
    const longer = cost(pattern, part, 48_000)
    if (longer <= 6 * long) return false
    if (longer > 10 * long) return true
  }
  return true
}

/** By its form, which takes no time to see, or as measured. */
function takesLong({ source, flags }: { source: string; flags: string }): boolean {
  const { reports } = analyse({ source, flags }, { reportTypes: { Move: true, Self: true, Trade: true } })
  return reports.length > 0 || attacks(source).some((part) => isSlow(new RegExp(source, flags), part))
}

test('finds what is known to be slow', { timeout: 120_000 }, () => {
  for (const pattern of [/<title[^>]*>/i, /Model (\[[^\]]*\])/]) expect(takesLong(pattern)).toBe(true)
  expect(takesLong(/x[^>]/)).toBe(false)
  expect(found.length).toBeGreaterThan(100)
})

test('no pattern in src takes more than linear time over a text that may be long', { timeout: 300_000 }, () => {
  const slow = found.filter(takesLong)
  expect(slow.map(({ name }) => name).filter((name) => !(name in BOUNDED))).toEqual([])
})

test('every exception is one', () => {
  const names = found.map(({ name }) => name)
  expect(Object.keys(BOUNDED).filter((name) => !names.includes(name))).toEqual([])
})
