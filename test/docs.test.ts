import { existsSync, globSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { GENERATED } from '../docs/settings.ts'
import { SETTINGS } from '../src/config/settings.ts'
import { file } from './deploy/repository.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PAGES = globSync('**/*.md', { cwd: ROOT, exclude: ['node_modules/**', 'backups/**', 'data/**'] }).sort()

/** As GitHub makes it of a heading. */
const anchor = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(' ', '-')
const withoutCode = (text: string) => text.replaceAll(/^```.*?^```/gms, '').replaceAll(/`[^`\n]*`/g, '')
const anchors = (page: string) => {
  const headings = file(page)
    .replaceAll(/^```.*?^```/gms, '')
    .matchAll(/^#+ (.*)$/gm)
  return [...headings].map(([, heading = '']) => anchor(heading))
}

test('the pages are found', () => {
  expect(PAGES).toEqual(
    expect.arrayContaining(['README.md', 'ARCHITECTURE.md', 'docs/settings.md', 'deploy/README.md']),
  )
})

test.for(PAGES)('%s: every link leads to a file, and to a heading of it', (page) => {
  const dead = [...withoutCode(file(page)).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = '']) => {
    if (/^(https?|mailto):/.test(link)) return []
    const [path = '', heading] = link.split('#')
    const target = path === '' ? page : join(dirname(page), path)
    if (!existsSync(join(ROOT, target))) return [link]
    return heading === undefined || anchors(target).includes(heading) ? [] : [link]
  })
  expect(dead).toEqual([])
})

test.for(Object.entries(GENERATED))(
  '%s says of the settings what the code does (else: npm run settings)',
  ([path, text]) => {
    expect(file(join('docs', path))).toBe(text)
    for (const name of Object.keys(SETTINGS)) expect(text).toMatch(new RegExp(`^(#${name}=|\\| \`${name}\` \\| )`, 'm'))
  },
)

test('ARCHITECTURE.md has a line for every file of src, or for its folder', () => {
  const named = [...file('ARCHITECTURE.md').matchAll(/\]\((src\/[^)]+)\)/g)].map(([, path]) => path)
  const files = globSync('src/**/*.{ts,cjs}', { cwd: ROOT })
  expect(files.filter((path) => !named.includes(path) && !named.includes(dirname(path)))).toEqual([])
})

describe('the table of the promises', () => {
  const [, table = ''] = file('ARCHITECTURE.md').split('\n## Promises\n')
  const rows = [...table.matchAll(/^\| (.*?) ?\| (\S+) \| (.+) \|$/gm)]
    .slice(2)
    .map(([, ...cells]) => cells.slice(0, 3))

  test('has every promise of README', () => {
    const promised = file('README.md')
      .match(/^\d+\. (?=\*\*)/gm)
      ?.map((number) => number.trim())
    expect(promised).toEqual(rows.flatMap(([promise = '']) => promise.match(/^\d+\./) ?? []))
    expect(promised?.length).toBeGreaterThanOrEqual(9)
  })

  test.for(rows)('%s %s: %s', ([, path = '', name = '']) => {
    expect(path).toMatch(/^test\//)
    expect(file(path)).toMatch(new RegExp(`\\(\\s*(['"\`])${RegExp.escape(name)}\\1,`))
  })
})
