/** The last four digits: all of a card number that a person may see (PCI DSS 4.0.1, 3.4.1). */
export const lastFour = (cc_num: bigint) => String(cc_num).slice(-4)

/** An id of our own in hex, in which so many digits in a row become letters. */
export const unlikeCard = (id: string) =>
  id.replace(/\d{11,}/g, (run) => run.replace(/\d/g, (digit) => 'ghijklmnop'[Number(digit)]!))

/** characters of a text that are looked at: nobody reads more, and the rest is left out */
const MOST = 100_000
/** digits of a card, and of groups as long as one another, which are one whatever the check digit says */
const [SHORTEST, LONGEST, EVEN] = [11, 19, 13]

let secrets = new Set<string>()
let SECRETS = /(?!)/g
/** From now on these are in no text that is shown: another side may repeat what it was sent. */
export function hideSecrets(known: Iterable<string>) {
  secrets = secrets.union(new Set(known))
  const longest = [...secrets].sort((a, b) => b.length - a.length).map((secret) => RegExp.escape(secret))
  if (longest.length > 0) SECRETS = new RegExp(`(?<![\\p{L}\\p{N}])(?:${longest.join('|')})(?![\\p{L}\\p{N}])`, 'gu')
}

/**
 * Takes whatever could be a card number out of a text from outside, all but its last four digits: 11 and more in a row, 11
 * to 19 in groups with a valid check digit, 13 and more in even groups; in any script, and however they are set apart or
 * escaped. Ids in hex, dates and times, network addresses and decimal numbers stay.
 */
export function maskCards(value: string): string {
  if (value.length > MOST) return `${maskCards(beginning(value))}… (${value.length} characters)`
  const text = value.replace(SECRETS, '***').replace(FRACTION, '$1…')
  let digits = 0
  for (const { length } of text.match(/\p{N}+/gu) ?? []) digits += length
  if (digits < SHORTEST) return text
  const { plain, from, to } = plainly(text)
  let shown = ''
  let next = 0
  for (const { 0: run, index } of plain.matchAll(/\d(?:[^xh\d]{0,5}\d){10,}/g))
    for (const part of partsOf(run, index, plain))
      for (const card of cardsIn(part)) {
        const digits = card.map((group) => group.digits).join('')
        shown += `${text.slice(next, from[card[0]!.at])}…${digits.slice(-4)}`
        next = to[card.at(-1)!.at + card.at(-1)!.digits.length - 1]!
      }
  return shown + text.slice(next)
}

/** The beginning of a text from outside, in one line, masked before it is cut: part of a number would pass. */
export function maskedStart(text: string, most: number): string {
  const shown = maskCards(text.slice(0, 2 * most + 100)).replace(/[\s\p{Cc}\p{Cf}]+/gu, ' ')
  return shown.length > most ? `${shown.slice(0, most).trimEnd()}…`.toWellFormed() : shown
}

/** More digits than anybody reads, and as many as a card has. */
const FRACTION = /(?<![\p{N}.])(\d{1,3}\.\d{6})\d{5,14}(?![\p{N}.])/gu

/** What is left out may be the rest of a number: so is what stands before it. */
function beginning(text: string): string {
  let end = MOST
  while (end > MOST - 200 && !/\p{L}/u.test(text[end - 1]!)) end--
  return text.slice(0, end).toWellFormed()
}

const ATOM =
  /([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}(?![\p{L}\p{N}])|[\p{L}\p{N}]+)|&(?:#x([\da-f]{1,6});|#(\d{1,7});|[a-z]{2,8};|#x(3\d)(?![\da-f])|#([45]\d)(?!\d))|%([0-3][\da-f]|5f|7c)|%[c-f][\da-f](?:%[89ab][\da-f]){1,3}|\\{1,8}(?:u([\da-f]{4})|[nrtbfv])|./gisu

/**
 * The text as digits, signs and letters: `x`, or `h` in a word of hex digits. What shows nothing is left out, what is
 * escaped is one sign, and an id in hex is one letter. `from` and `to` are where each of them stands in the text.
 */
function plainly(text: string) {
  let [plain, last] = ['', '']
  const [from, to]: [number[], number[]] = [[], []]
  const add = (signs: string, start: number, end: number) => {
    if (signs === '' || (signs === last && !/[\dxh]/.test(signs))) return // as often as anybody likes
    last = signs
    plain += signs
    for (let i = 0; i < signs.length; i++) from.push(start)
    for (let i = 0; i < signs.length; i++) to.push(end)
  }
  for (const found of text.matchAll(ATOM)) {
    const { index } = found
    const [atom, word, hex, dec, bareHex, bareDec, percent, escaped] = found
    const code = hex ?? bareHex ?? percent ?? escaped
    const decimal = dec ?? bareDec
    if (word === undefined) {
      const sign = code ? charOf(Number.parseInt(code, 16)) : decimal ? charOf(Number(decimal)) : atom
      add(plainSign(sign, 'x'), index, index + atom.length)
    } else if (isId(word)) add('x', index, index + word.length)
    else {
      const letter = HEX.test(word) ? 'h' : 'x'
      let at = index
      for (const sign of word) {
        add(plainSign(sign, letter), at, at + sign.length)
        at += sign.length
      }
    }
  }
  return { plain, from, to }
}

const HEX = /^(?:[\da-f-]+|[\dA-F-]+)$/
/** Goes back and forth between digits and letters, as what is drawn by chance does, and no card beside a letter. */
const isId = (word: string) =>
  word.length > SHORTEST &&
  HEX.test(word) &&
  (word.match(/\d-?(?=[a-f])|[a-f]-?(?=\d)/gi)?.length ?? 0) > (word.includes('-') ? 0 : 2)

const charOf = (code: number) => (code <= 0x10ffff ? String.fromCodePoint(code) : ' ')
const BLANK = /[\u115f\u1160\u3164\uffa0]/ // letters that show nothing
function plainSign(sign: string, letter: string): string {
  if (/^\s$/.test(sign)) return ' '
  if (sign.length === 1 && sign < '\x7f') return /[a-z]/i.test(sign) ? letter : sign
  if (/^[\p{Cf}\p{M}]$/u.test(sign)) return '' // shows nothing of its own
  if (/^\p{N}$/u.test(sign)) return digitsOf(sign) || letter
  return /^\p{L}$/u.test(sign) && !BLANK.test(sign) ? letter : ' '
}

/** Where circled digits begin that no normal form knows, at 1; and their zeros. */
const [CIRCLED, ZEROS] = [[0x24f5, 0x2776, 0x2780, 0x278a], '\u24ff\u{1f10b}\u{1f10c}']
const known = new Map<string, string>()
function digitsOf(sign: string): string {
  let digits = known.get(sign)
  if (digits !== undefined) return digits
  const start = CIRCLED.find((start) => sign.charCodeAt(0) >= start && sign.charCodeAt(0) < start + 9)
  if (start !== undefined) digits = String(sign.charCodeAt(0) - start + 1)
  else if (ZEROS.includes(sign)) digits = '0'
  else digits = Array.from(sign.normalize('NFKC').matchAll(/\p{Nd}/gu), ([digit]) => worthOf(digit)).join('')
  known.set(sign, digits)
  return digits
}
/** The digits of every script follow one another from 0 to 9. */
function worthOf(digit: string): number {
  let zero = digit.codePointAt(0)!
  while (/^\p{Nd}$/u.test(String.fromCodePoint(zero - 1))) zero--
  return (digit.codePointAt(0)! - zero) % 10
}

/** Digits in a row; `at`: where in the plain text; `between`: what stands before it; `id`: in a word of hex digits. */
type Group = { digits: string; at: number; between: string; id: boolean }

const LEGIBLE = new RegExp(
  [
    String.raw`(?<!\d|\d[-/.])(?:(?:19|20)\d\d([-/.])(?:0\d|1[0-2])\1[0-3]\d|[0-3]?\d([-/.])[0-3]?\d\2(?:19|20)\d\d)(?!\d|[-/.]\d)`,
    String.raw`(?<!\d|\d:)(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?(?!\d|:\d)`,
    String.raw`(?<!\d|\d\.)(?:(?:1?\d?\d|2[0-4]\d|25[0-5])\.){3}(?:1?\d?\d|2[0-4]\d|25[0-5])(?::\d{1,5})?(?!\d|[.:]\d)`,
    String.raw`(?<!\d|\d[.,])\d{1,3}(?:,\d{3}){1,3}\.\d\d(?!\d|[.,]\d)`,
    String.raw`(?<!\d|\d[-.:/_]|,\d{3},)\d{1,3}\.\d{1,10}(?!\d|\.\d)`,
  ].join('|'),
  'g',
)

/** The groups of a run of digits, apart where something legible stands between them. */
function partsOf(run: string, start: number, plain: string): Group[][] {
  const parts: Group[][] = [[]]
  const inHex = (at: number) => plain[at] === 'h'
  const legible = [...run.matchAll(LEGIBLE)].reverse()
  let end = 0
  for (const { 0: digits, index } of run.matchAll(/\d+/g)) {
    while (legible.length > 0 && legible.at(-1)!.index + legible.at(-1)![0].length <= index) legible.pop()
    if (legible.length > 0 && legible.at(-1)!.index <= index) parts.push([])
    else {
      const id = inHex(start + index - 1) || inHex(start + index + digits.length)
      parts.at(-1)!.push({ digits, at: start + index, between: run.slice(end, index), id })
    }
    end = index + digits.length
  }
  return parts
}

/** The groups that are a card together; what overlaps is taken as one. */
function cardsIn(groups: readonly Group[]): Group[][] {
  const cards: [first: number, last: number][] = []
  let even = 0 // up to there groups of one length are known
  for (let i = 0; i < groups.length; i++) {
    let last = -1
    let digits = ''
    for (let j = i; j < groups.length && digits.length + groups[j]!.digits.length <= LONGEST; j++) {
      digits += groups[j]!.digits
      if (digits.length >= SHORTEST && isValid(digits)) last = j
    }
    if (groups[i]!.digits.length >= SHORTEST && !groups[i]!.id) last = Math.max(last, i)
    if (i >= even) {
      even = evenFrom(groups, i)
      const length = groups.slice(i, even).reduce((sum, group) => sum + group.digits.length, 0)
      if (length >= EVEN && even > i + 1) last = Math.max(last, even - 1)
      if (even - i > 2) even-- // the last one may begin others
    }
    if (last < 0) continue
    const before = cards.at(-1)
    if (before && before[1] >= i) before[1] = Math.max(before[1], last)
    else cards.push([i, last])
  }
  return cards.map(([first, last]) => groups.slice(first, last + 1))
}

/** Where groups end that are as a person writes them: as long as one another but the last one, or 4-6-4 and 4-6-5. */
function evenFrom(groups: readonly Group[], i: number): number {
  const size = (n: number) => groups[n]?.digits.length ?? 0
  if (size(i) === 4 && size(i + 1) === 6 && (size(i + 2) === 4 || size(i + 2) === 5)) return i + 3
  let end = i + 1
  const alike = () => size(i) > 2 || groups[end]!.between === groups[i + 1]!.between
  while (end < groups.length && size(end) === size(i) && alike()) end++
  const more = end < groups.length && end > i + 1 && size(end) < Math.max(8, size(i)) && alike()
  return more ? end + 1 : end
}

/** The check digit of a card (ISO/IEC 7812-1, annex B). */
function isValid(digits: string): boolean {
  let sum = 0
  for (let i = 1; i <= digits.length; i++) {
    const digit = (digits.charCodeAt(digits.length - i) - 48) * (i % 2 === 0 ? 2 : 1)
    sum += digit > 9 ? digit - 9 : digit
  }
  return sum % 10 === 0
}
