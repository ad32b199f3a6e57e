/** Names that the tools around it read from the same `.env`. */
const OF_OTHERS =
  /^(PATH|HOME|USER|LANG|TZ|TMPDIR|DEBUG|CI|DYNO|NO_COLOR|FORCE_COLOR|CHROMIUM|PGBOUNCER|(HTTPS?|NO|ALL)_PROXY|(NODE|NPM|SSL|PG|POSTGRES|LC|AWS|AZURE|GOOGLE|OTEL|DD|SENTRY|DOCKER|COMPOSE|BUILDKIT|HEROKU|KUBERNETES|MLFLOW)_?[A-Z_\d]*)$/i
/** In words, which no key or token is: the lines of one that was written without quotes are taken for names. */
const isWords = (name: string) => name.split(/[_.-]/).every((word) => /^[a-z]{0,15}\d{0,2}$/i.test(word))
/** What a platform sets, and is like a setting by chance. */
const LIKE_ONE = /^(STAGE|HOSTS|PORTS)$|_(PORT|HOST)$/

/**
 * What was probably meant for a setting and is none, one line each: every name in `.env`, and those of the environment that are
 * a slip away from one. `written` are the names in `.env`. No value is looked at.
 */
export function strangers(known: ReadonlySet<string>, env: Iterable<string>, written: ReadonlySet<string>): string[] {
  const lines: string[] = []
  for (const name of new Set([...written, ...env])) {
    if (known.has(name) || (LIKE_ONE.test(name) && !written.has(name))) continue
    const meant = closest(name, known)
    if (meant) lines.push(`${name}: is no setting; did you mean ${meant}?`)
    else if (written.has(name) && !OF_OTHERS.test(name))
      lines.push(
        isWords(name)
          ? `${name}: is in .env and no setting`
          : 'a line of .env is no setting, and not shown, as it may be of a secret: a value of several lines wants quotes',
      )
  }
  return lines
}

function closest(name: string, known: Iterable<string>): string | undefined {
  let best: { meant: string; at: number } | undefined
  for (const meant of known) {
    // A short name is like many others.
    const most = meant.length >= 8 && meant[0] === name[0]?.toUpperCase() ? 2 : 1
    if (Math.abs(name.length - meant.length) > most) continue
    const at = distance(name.toUpperCase(), meant)
    if (at <= most && at < (best?.at ?? Number.POSITIVE_INFINITY)) best = { meant, at }
  }
  return best?.meant
}

/** How many letters have to be added, dropped, changed or swapped with the next. */
function distance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const [above, before] = [rows[i - 1]!, rows[i - 2]]
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swap = before && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? before[j - 2]! + 1 : change
      row.push(Math.min(change, swap, above[j]! + 1, row[j - 1]! + 1))
    }
    rows.push(row)
  }
  return rows[a.length]![b.length]!
}
