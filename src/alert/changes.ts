import type { Notes } from '../topic/topic.ts'

/** Rows that have changed since they were noted; null takes one away. */
export function unnoted() {
  let changes: Record<string, unknown> = {}
  return {
    set(key: string, row: unknown) {
      changes[key] = row
    },
    /** What is to be noted, and what to call once it is. */
    changes(): { notes: Notes; kept(): void } {
      const notes = { ...changes }
      const kept = () => {
        changes = Object.fromEntries(Object.entries(changes).filter(([key, value]) => notes[key] !== value))
      }
      return { notes, kept }
    },
  }
}
