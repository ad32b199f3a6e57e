import type { Notes } from '../topic/topic.ts'

export type Rows = ReturnType<typeof openRows>

/** What outlives the process, as rows under a prefix, and what of it has changed since it was noted. */
export function openRows(prefix: string, found: ReadonlyMap<string, unknown>) {
  let changes: Record<string, unknown> = {}
  const texts = new Map<string, string | undefined>()
  const get = (key: string) => found.get(`${prefix}${key}`)

  /** null takes the row away. */
  function set(key: string, row: unknown) {
    changes[`${prefix}${key}`] = row
  }
  return {
    get,
    set,
    /** The rows there were whose keys go on so, by the rest of their keys. */
    under: (kind: string): [string, unknown][] =>
      [...found]
        .filter(([key]) => key.startsWith(`${prefix}${kind}`))
        .map(([key, row]) => [key.slice(prefix.length + kind.length), row]),
    /** A small row as it is now, undefined for none: a change only if it is another one. */
    keep(key: string, row: unknown) {
      const text = JSON.stringify(row)
      if (text === (texts.has(key) ? texts.get(key) : JSON.stringify(get(key)))) return
      texts.set(key, text)
      set(key, text === undefined ? null : JSON.parse(text)) // as it is now: it goes on changing while it is written
    },
    /** What is to be noted, and what to call once it is. */
    changes(): { notes: Notes; kept(): void } {
      const notes = changes
      changes = { ...notes }
      const kept = () => {
        for (const key of Object.keys(notes)) if (changes[key] === notes[key]) delete changes[key]
      }
      return { notes, kept }
    },
  }
}
