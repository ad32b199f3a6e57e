/** characters of a secret at least: a shorter one would take words apart */
const SHORTEST = 6
/** of headers, and of what stands in a query */
const NAME = /auth|cookie|credential|key|pass|secret|session|sig|token/i
const SCHEME = /^(bearer|basic|digest|apikey|token)$/i

/**
 * What must not be shown of a value that was read, in each form in which another side may repeat it: passwords, tokens,
 * what stands in headers that are named after one. `secret`: all of it is one.
 */
export const secretsIn = (value: unknown, secret = false): string[] =>
  formsIn(value, secret).filter((text) => text.length >= SHORTEST && !SCHEME.test(text))

function formsIn(value: unknown, secret: boolean): string[] {
  if (typeof value === 'string') return secret ? [value, ...(value.includes('\n') ? [] : words(value))] : []
  if (value instanceof URL) {
    const { username, password, pathname, searchParams } = value
    const login =
      password && password !== username ? [password, decodeURIComponent(password), btoa(`${username}:${password}`)] : []
    // Of a webhook's path the word that is a token: of other words messages are made.
    const path = secret ? pathname.split('/').filter((part) => /[A-Z\d]/.test(part)) : []
    return [...login, ...path, ...[...searchParams].flatMap(([name, text]) => formsIn(text, secret || NAME.test(name)))]
  }
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, text]) =>
    formsIn(text, (secret && typeof text === 'object') || NAME.test(name)),
  )
}

/** A header says `Bearer …`, a cookie `name=…; name=…`, and Basic a name and a password. */
function words(value: string): string[] {
  const found = value.split(/[\s;,]+/)
  const inside = found.flatMap((word) => [word.replace(/^[\w-]+=/, ''), Buffer.from(word, 'base64').toString()])
  return [...found, ...inside, ...inside.map((text) => text.replace(/^[^:]*:/, ''))]
}
