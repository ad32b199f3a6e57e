import { createHash } from 'node:crypto'
import type { Rows } from './rows.ts'

/**
 * Frauds at most that are remembered as sent, the latest: some 8 MB here and 2 MB noted, though a model flags everything.
 * What is seen again after so many others is another fraud.
 */
const REMEMBERED = 50_000

export type SentRow = { at: number; of: readonly string[] }
/** 16 of an identity's letters, however long that is */
export const short = (identity: string) => createHash('sha256').update(identity).digest('base64url').slice(0, 16)

/** What was sent, a row `sent/…` a notification, so that the same transaction is no second alarm when it is seen again. */
export function openSent({ under, set }: Rows, most = REMEMBERED) {
  const notifications = new Map((under('sent/') as [string, SentRow][]).sort(([, a], [, b]) => a.at - b.at))
  const names = new Map<string, string>() // of which notification each is
  for (const [key, { of }] of notifications) for (const name of of) names.set(name, key)

  function forget(key: string) {
    for (const name of notifications.get(key)!.of) if (names.get(name) === key) names.delete(name)
    notifications.delete(key)
    set(`sent/${key}`, null)
  }
  return {
    has: (identity: string) => names.has(short(identity)),
    add(notification: string, identities: readonly string[], at: number) {
      if (identities.length === 0) return
      const row: SentRow = { at, of: identities.map(short) }
      notifications.delete(notification)
      notifications.set(notification, row)
      set(`sent/${notification}`, row)
      for (const name of row.of) names.set(name, notification)
      while (names.size > most) forget(notifications.keys().next().value!)
    },
  }
}
