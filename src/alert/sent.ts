import { createHash } from 'node:crypto'
import { unnoted } from './changes.ts'

/**
 * Frauds at most that are remembered as sent, the latest: some 8 MB here and 2 MB noted, though a model flags everything.
 * What is seen again after so many others is another fraud.
 */
const REMEMBERED = 50_000

/** What the keys begin with, of the letters that are noted under a name. */
export const sentKeys = (name: string) => `${name}/sent/`

type Row = { at: number; of: readonly string[] }
/** 16 of an identity's letters, however long that is */
const short = (identity: string) => createHash('sha256').update(identity).digest('base64url').slice(0, 16)

/**
 * What was sent, so that the same transaction is no second alarm when it is seen again. A letter is a row under `prefix`,
 * noted when it has gone: a change costs what has changed, and nothing is as long as all of it.
 */
export function openSent(prefix: string, noted: ReadonlyMap<string, unknown>, most = REMEMBERED) {
  const rows = new Map([...(noted as ReadonlyMap<string, Row>)].sort(([, a], [, b]) => a.at - b.at))
  const names = new Map<string, string>() // of which row each is
  for (const [key, { of }] of rows) for (const name of of) names.set(name, key)
  const { set, changes } = unnoted()

  function forget(key: string) {
    for (const name of rows.get(key)!.of) if (names.get(name) === key) names.delete(name)
    rows.delete(key)
    set(key, null)
  }
  return {
    has: (identity: string) => names.has(short(identity)),
    add(letter: string, identities: readonly string[], at: number) {
      if (identities.length === 0) return
      const key = `${prefix}${letter}`
      const row = { at, of: identities.map(short) }
      rows.delete(key)
      rows.set(key, row)
      set(key, row)
      for (const name of row.of) names.set(name, key)
      while (names.size > most) forget(rows.keys().next().value!)
    },
    changes,
  }
}
