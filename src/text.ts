/** `1 row`, `2 rows` */
export const plural = (count: number, one: string) => `${count} ${one}${count === 1 ? '' : 's'}`
export const seconds = (ms: number) => (ms < 10_000 ? (ms / 1000).toFixed(1) : String(Math.round(ms / 1000)))
