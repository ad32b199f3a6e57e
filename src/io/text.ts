/** `1 row`, `2 rows` */
export const plural = (count: number, one: string) => `${count} ${one}${count === 1 ? '' : 's'}`
export const seconds = (ms: number) => (ms < 10_000 ? (ms / 1000).toFixed(1) : String(Math.round(ms / 1000)))
/** `12,345` */
export const grouped = (count: number) => count.toLocaleString('en-US')
/** `2.5 %`, in so many digits */
export const percent = (share: number, digits: number) => `${Number((share * 100).toPrecision(digits))} %`

/** A text from outside in one line: no line breaks, no right-to-left tricks. */
export const oneLine = (text: string) =>
  text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
    .trim()
