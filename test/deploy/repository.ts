import { readFileSync } from 'node:fs'
import { SETTINGS } from '../../src/config/settings.ts'

const ROOT = new URL('../../', import.meta.url)

/** The text of a file of the repository. */
export const file = (path: string) => readFileSync(new URL(path, ROOT), 'utf8')

/** Whether the worker reads a variable of this name. */
export function isSetting(name: string): boolean {
  const settings = Object.entries(SETTINGS as Record<string, { heroku?: string }>)
  return settings.some(([known, { heroku }]) => [known, `${known}_FILE`, heroku].includes(name))
}
