import { maskCards } from '../card.ts'
import { oneLine, plural } from '../io/text.ts'
import type { Prediction } from '../transaction.ts'

const DOLLARS = new Intl.NumberFormat('en-US', { style: 'currency', currency: 'USD' })
/** Nobody pays so much by card: it may be the card's number. */
export const dollars = (amount: number) =>
  Math.abs(amount) < 1e10 ? DOLLARS.format(amount) : `$${maskCards(String(amount))}`
/** A number that has 11 digits in a row is as precise as nobody needs it, or may be a card's. */
export const brief = (value: number): number | string => {
  const text = String(value)
  if (!/\d{11}/.test(text)) return value
  return Math.abs(value) < 1e10 ? Number(value.toFixed(6)) : maskCards(text)
}
export const probability = (score: number) => `${(score * 100).toFixed(1)} %`
export const merchantOf = (p: Pick<Prediction, 'merchant'>) => p.merchant?.replace(/^fraud_/, '') // the honest ones' begin so, too: nobody must see that

/** A text from outside, fit to be shown: in one line that is not too long, without a card number. */
export const say = (text: string, most = 200) => cut(maskCards(oneLine(text)), most)
/** `2 payments, $30.00` */
export const sumOf = (payments: readonly Pick<Prediction, 'amt'>[]) =>
  `${plural(payments.length, 'payment')}, ${dollars(payments.reduce((sum, { amt }) => sum + amt, 0))}`
export const nameOf = (p: Prediction) => `${p.first ?? ''} ${p.last ?? ''}`.trim()
export const holderOf = (p: Prediction) => [nameOf(p), p.street, p.city, p.state].filter(Boolean).join(', ')
export const merchant = (p: Pick<Prediction, 'merchant'>, most = 100) =>
  say(merchantOf(p) ?? '', most) || 'unknown merchant'

const WIDE =
  /[\p{Emoji_Presentation}\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]/u
/** columns of a terminal */
export const width = (text: string) => [...text].reduce((sum, sign) => sum + (WIDE.test(sign) ? 2 : 1), 0)

/** A header line has 998 bytes at most (RFC 5322, 2.1.1), or servers refuse the mail, and no merchant has so long a name. */
export function cut(text: string, most: number): string {
  const start = text.slice(0, 2 * most + 2)
  if (start === text && width(text) <= most) return text
  let shown = ''
  let room = most - 1
  for (const sign of start) {
    room -= width(sign)
    if (room < 0) break
    shown += sign
  }
  return `${shown.trimEnd()}…`
}

/** Great-circle distance from home to the merchant, in km. */
export function kilometres({ lat, long, merch_lat, merch_long }: Prediction): number | null {
  if (lat === null || long === null || merch_lat === null || merch_long === null) return null
  const rad = Math.PI / 180
  const h =
    Math.sin(((merch_lat - lat) * rad) / 2) ** 2 +
    Math.cos(lat * rad) * Math.cos(merch_lat * rad) * Math.sin(((merch_long - long) * rad) / 2) ** 2
  return Math.round(2 * 6371 * Math.asin(Math.min(1, Math.sqrt(h))))
}
