import { readFileSync, writeFileSync } from 'node:fs'
import { SETTINGS } from '../src/config/settings.ts'

// `npm run settings` writes what SETTINGS says into the two files that repeat it; a test compares them.

type Setting = { default?: string; secret?: true; heroku?: string; meaning: string }
const settings = Object.entries<Setting>(SETTINGS)
const escaped = (text: string) => text.replaceAll(/[<|]/g, (sign) => `\\${sign}`)
const read = (file: string) => readFileSync(new URL(file, import.meta.url), 'utf8')

const row = ([name, { default: value, secret, heroku, meaning }]: [string, Setting]) => {
  const notes = [heroku && ` (Heroku's \`${heroku}\` is taken, too)`, secret && ' (secret)']
  return `| \`${name}\` | ${value === undefined ? 'none' : `\`${value}\``} | ${escaped(meaning)}${notes.filter(Boolean).join('')} |`
}
const table = ['| variable | default | meaning |', '| --- | --- | --- |', ...settings.map(row), ''].join('\n')
const lines = settings.map(([name, { default: value = '', meaning }]) => `# ${meaning}\n#${name}=${value}\n`).join('\n')

/** By file, what it has to be: what people wrote stays, the list is made anew. */
export const GENERATED: Record<string, string> = {
  'settings.md': read('settings.md').replace(/^(\|.*\n)+/m, () => table),
  '../.env.example': read('../.env.example').replace(/^# [^\n]*\n#[A-Z_]+=.*/ms, () => lines),
}

if (import.meta.main)
  for (const [file, text] of Object.entries(GENERATED)) writeFileSync(new URL(file, import.meta.url), text)
