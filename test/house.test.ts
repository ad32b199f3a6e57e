import { globSync } from 'node:fs'
import { dirname, posix } from 'node:path'
import { expect, test } from 'vitest'
import { file } from './deploy/repository.ts'

// Who may import whom, and how long what is. What is listed as an exception may only get less.

const FILES = globSync('src/**/*.{ts,cjs}').sort()
const STAGES = ['fetch', 'score', 'alert', 'record']
const CONTRACTS = ['src/topic/topic.ts', 'src/record/store.ts', 'src/alert/way.ts']
/** What the contracts speak of. */
const WORDS = ['src/transaction.ts', 'src/errors.ts', 'src/json.ts']
/** Start and wiring: they know the stages. */
const WIRING = ['start.cjs', 'main.ts', 'run.ts', 'commands.ts', 'pipeline.ts', 'wiring.ts'].map(
  (name) => `src/${name}`,
)
/** What the worker goes without, until a setting or a command asks for it; and what it still begins with. */
const ON_DEMAND = [
  'src/simulate/',
  'src/operate/doctor/',
  'src/topic/kafka',
  'src/kafka',
  '@platformatic/kafka',
  'pg',
  'prom-client',
]
const AT_ONCE = ['src/topic/kafka-message.ts', 'prom-client']
const LINES = 300
const LONGER: Record<string, number> = {
  'src/alert/deliver.ts': 432,
  'src/config.ts': 512,
  'src/topic/kafka-reader.ts': 378,
  'src/topic/postgres.ts': 428,
}

type Import = { of: string; erased: boolean; lazy: boolean }
const imports = new Map(
  FILES.map((path) => {
    const found = file(path).matchAll(
      /^(?:import|export) (type )?(?:[^'"\n]*|\{[^}]*\}) from '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm,
    )
    const all = [...found].map(([, type, from, bare, lazy]): Import => {
      const of = from ?? bare ?? lazy ?? ''
      return { of: of.startsWith('.') ? posix.join(dirname(path), of) : of, erased: Boolean(type), lazy: Boolean(lazy) }
    })
    return [path, all]
  }),
)
const importsOf = (path: string) => (imports.get(path) ?? []).map(({ of }) => of)
const isIn = (folder: string) => (path: string) => path.startsWith(`src/${folder}/`)
/** Every import of `from` that is not allowed, as a line. */
const wrong = (from: readonly string[], allowed: (of: string, path: string) => boolean) =>
  from.flatMap((path) =>
    importsOf(path)
      .filter((of) => of.startsWith('src/') && !allowed(of, path))
      .map((of) => `${path} → ${of}`),
  )

test('every import is found, and leads to a file', () => {
  expect(FILES.length).toBeGreaterThan(50)
  for (const path of FILES) {
    const count = file(path).match(/(^| )from '|\bimport\('|^import '/gm)?.length ?? 0
    expect({ path, count: importsOf(path).length }).toEqual({ path, count })
  }
  expect(wrong(FILES, (of) => FILES.includes(of))).toEqual([])
})

test.for(STAGES)('stage %s imports no other', (stage) => {
  const others = STAGES.filter((other) => other !== stage)
  expect(wrong(FILES.filter(isIn(stage)), (of) => !others.some((other) => isIn(other)(of)))).toEqual([])
})

test('a contract imports nothing but what it speaks of', () => {
  expect(CONTRACTS.filter((path) => !FILES.includes(path))).toEqual([])
  expect(wrong(CONTRACTS, (of) => WORDS.includes(of))).toEqual([])
})

test('the ground knows contracts, and no stage, engine or command', () => {
  const ground = FILES.filter((path) => dirname(path) === 'src' && !WIRING.includes(path))
  expect(wrong(ground, (of) => ground.includes(of) || CONTRACTS.includes(of))).toEqual([])
})

test('an engine of the topics knows the ground and its contract', () => {
  expect(wrong(FILES.filter(isIn('topic')), (of) => dirname(of) === 'src' || isIn('topic')(of))).toEqual([])
})

test('only the start knows the start, and only wiring knows the stages as a whole', () => {
  const rooms = FILES.filter((path) => !WIRING.includes(path))
  expect(wrong(rooms, (of) => !WIRING.includes(of))).toEqual([])
})

test('nothing imports in a circle', () => {
  const circles: string[] = []
  const done = new Set<string>()
  function walk(path: string, way: string[]) {
    if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path].join(' → '))
    if (way.includes(path) || done.has(path)) return
    for (const of of importsOf(path)) walk(of, [...way, path])
    done.add(path)
  }
  for (const path of FILES) walk(path, [])
  expect(circles).toEqual([])
})

test('stand-ins, doctor and engines are loaded when they are used, but for what is listed', () => {
  const loaded = new Set<string>()
  function load(path: string) {
    if (loaded.has(path)) return
    loaded.add(path)
    for (const { of, erased, lazy } of imports.get(path) ?? []) if (!erased && !lazy) load(of)
  }
  load('src/run.ts')
  const early = [...loaded].filter((of) =>
    ON_DEMAND.some((room) => (room.startsWith('src/') ? of.startsWith(room) : of === room)),
  )
  expect(early.sort()).toEqual([...AT_ONCE].sort())
})

test(`no file of src has more than ${LINES} lines, but for some that may only get shorter`, () => {
  const lines = FILES.map((path) => [path, file(path).split('\n').length - 1] as const)
  expect(lines.filter(([path, count]) => count > (LONGER[path] ?? LINES))).toEqual([])
  const long = lines.filter(([, count]) => count > LINES).map(([path]) => path)
  expect(Object.keys(LONGER).filter((path) => !long.includes(path))).toEqual([])
})

test('the functions that may have more than 80 lines are in files that there are', () => {
  const { overrides } = JSON.parse(file('biome.json')) as { overrides: { includes: string[] }[] }
  const [all, ...longer] = overrides.map(({ includes }) => includes.join())
  expect(all).toBe('src/**')
  expect(longer.filter((path) => !FILES.includes(path))).toEqual([])
})
