import { globSync } from 'node:fs'
import { dirname, posix } from 'node:path'
import { expect, test } from 'vitest'
import { file } from './deploy/repository.ts'

// Who may import whom, and how long what is. What is listed as an exception may only get less.

const FILES = globSync('src/**/*.{ts,cjs}').sort()
const STAGES = ['fetch', 'score', 'alert', 'record']
/** What any room may know: words, and what talks to files and sockets. */
const GROUND = ['io', 'config']
const WORDS = ['src/transaction.ts', 'src/columns.ts', 'src/card.ts', 'src/version.ts']
const CONTRACTS = ['src/topic/topic.ts', 'src/record/store.ts', 'src/alert/notifier.ts', 'src/review/reviews.ts']
/** Transactions → predictions → alarm and rows, on SQLite. */
const CORE = [...STAGES, 'run', 'topic']
/** What the core does not know. They stand beside each other, but for those that are named. */
const AROUND: Record<string, readonly string[]> = {
  'engines/kafka': [],
  'engines/postgres': ['src/review/', 'src/record/schema.ts'],
  notify: [],
  review: [],
  registry: [],
  archive: ['src/review/'],
  care: ['src/review/', 'src/registry/', 'src/simulate/random.ts'],
  shadow: ['src/review/', 'src/registry/registry.ts'],
  desk: ['src/review/', 'src/notify/', 'src/care/', 'src/shadow/champion.ts'],
  status: ['src/care/', 'src/commands/dead-letters.ts', 'src/notify/', 'src/review/reviews.ts'],
  simulate: [],
  doctor: ['src/notify/', 'src/registry/', 'src/simulate/', 'src/review/reviews.ts'],
  commands: ['src/engines/', 'src/review/', 'src/care/', 'src/notify/', 'src/shadow/champion.ts'],
}
/** Start and wiring: they know the rooms. */
const WIRING = [
  'start.cjs',
  'main.ts',
  'cli.ts',
  'commands.ts',
  'wiring-desk.ts',
  'beside.ts',
  'pipeline.ts',
  'once.ts',
  'models.ts',
  'model-command.ts',
  'archive-command.ts',
  'replay-command.ts',
  'wiring.ts',
].map((name) => `src/${name}`)
const PROMETHEUS = 'src/status/prometheus.cjs'
/** What is not loaded until a setting or a command asks for it; and what the worker begins with all the same. */
const ON_DEMAND = ['src/simulate/', 'src/doctor/', 'src/engines/', '@platformatic/kafka', 'pg', PROMETHEUS]
const AT_ONCE = [PROMETHEUS]
const LINES = 300

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

const isGround = (path: string) => WORDS.includes(path) || GROUND.some((room) => isIn(room)(path))

test('every file stands in a room', () => {
  const rooms = [...GROUND, ...CORE, ...Object.keys(AROUND)]
  const known = (path: string) => [...WORDS, ...WIRING].includes(path) || rooms.some((room) => isIn(room)(path))
  expect(FILES.filter((path) => !known(path))).toEqual([])
})

test('the ground knows the ground alone, and a contract as little', () => {
  expect(wrong(FILES.filter(isGround), isGround)).toEqual([])
  expect(CONTRACTS.filter((path) => !FILES.includes(path))).toEqual([])
  expect(wrong(CONTRACTS, isGround)).toEqual([])
})

test('the core knows the core', () => {
  const isCore = (path: string) => CORE.some((room) => isIn(room)(path))
  expect(wrong(FILES.filter(isCore), (of) => isGround(of) || isCore(of))).toEqual([])
  const shared = (of: string, path: string) => CONTRACTS.includes(of) || dirname(of) === dirname(path)
  expect(wrong(FILES.filter(isIn('topic')), (of, path) => isGround(of) || shared(of, path))).toEqual([])
})

test.for(Object.keys(AROUND))('%s knows the core, and of the rooms beside it what is named', (room) => {
  const narrow = room.startsWith('engines/') || room === 'notify' // the contract, the loop, nothing of a stage
  const core = narrow ? ['src/run/', 'src/topic/', ...CONTRACTS] : CORE.map((name) => `src/${name}/`)
  const named = [...core, ...AROUND[room]!, `src/${room}/`]
  expect(wrong(FILES.filter(isIn(room)), (of) => isGround(of) || named.some((way) => of.startsWith(way)))).toEqual([])
})

test('only the start knows the start, and only wiring knows the rooms as a whole', () => {
  const inside = FILES.filter((path) => !WIRING.includes(path))
  expect(wrong(inside, (of) => !WIRING.includes(of))).toEqual([])
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

/** All that is loaded with these files, before anything is asked for. */
function loadedWith(roots: readonly string[]) {
  const loaded = new Set<string>()
  function load(path: string) {
    if (loaded.has(path)) return
    loaded.add(path)
    for (const { of, erased, lazy } of imports.get(path) ?? []) if (!erased && !lazy) load(of)
  }
  for (const root of roots) load(root)
  return [...loaded].filter((of) =>
    ON_DEMAND.some((room) => (room.startsWith('src/') ? of.startsWith(room) : of === room)),
  )
}

test('stand-ins, doctor, engines and metrics are loaded when they are used', () => {
  const worker = importsOf('src/cli.ts').filter((of) => of === 'src/pipeline.ts' || isIn('status')(of))
  expect(worker.length).toBe(5)
  expect(loadedWith(['src/cli.ts'])).toEqual([])
  expect(loadedWith(worker)).toEqual(AT_ONCE)
})

test(`no file of src has more than ${LINES} lines`, () => {
  const lines = FILES.map((path) => [path, file(path).split('\n').length - 1] as const)
  expect(lines.filter(([, count]) => count > LINES)).toEqual([])
})

test('the functions that may have more than 80 lines are in files that there are', () => {
  const { overrides } = JSON.parse(file('biome.json')) as { overrides: { includes: string[] }[] }
  const [all, ...longer] = overrides.map(({ includes }) => includes.join())
  expect(all).toBe('src/**')
  expect(longer.filter((path) => !FILES.includes(path))).toEqual([])
})

/** Where the words of other systems are read, as nothing else tells what is meant. */
const READS_OTHERS: Record<string, string> = {
  'src/io/certificate.ts': 'Node.js has many codes, and one cure, for a signer that nobody knows',
  'src/io/errors.ts': 'V8 has no code for what is too large',
  'src/io/http.ts': 'axios has one code for several failures',
  'src/cli.ts': 'Node.js adds advice of its own to what is wrong with an argument',
  'src/engines/postgres/connections.ts': 'pg has no code for a server without TLS',
  'src/engines/kafka/errors.ts': 'the library hides its reasons in texts',
  'src/notify/smtp.ts': 'nodemailer and OpenSSL say it in texts alone',
  'src/doctor/check.ts': 'the system, OpenSSL, PostgreSQL, Kafka and SQLite: a person is told what to do',
}
/** An expression that is what an error says, and a pattern or a text that it is held against. */
const SAID = /\b(?:\w+\.message|reason\([^()]*\)|plainly\([^()]*\)|String\((?:error|cause|e)\))/
const said = (source: string) => [
  ...[...source.matchAll(/\bconst (\w+) = (.*)/g)].filter(([, , value]) => SAID.test(value!)).map(([, name]) => name!),
  ...[...source.matchAll(/\bconst \{([^}]*)\} = \(?(?:error|cause|e|failure)\b/g)].flatMap(([, names]) =>
    names!.split(/[,\s]+/).filter((name) => name === 'message' || name === 'reason'),
  ),
]
function parsed(source: string): string[] {
  const words = `(?:${[SAID.source, ...said(source).map((name) => `\\b${name}`)].join('|')})`
  const held = [
    `(?:test|exec)\\(${words}`,
    `${words}\\)?\\.(?:match|matchAll|search|includes|startsWith|endsWith|replace|split)\\(`,
    `${words} [!=]== ['"\`]`,
  ]
  return source.split('\n').filter((line) => held.some((pattern) => new RegExp(pattern).test(line)))
}

test('signals are combined by anyOf alone', () => {
  const users = FILES.filter((name) => file(name).includes('AbortSignal.any('))
  expect(users).toEqual(['src/io/abort.ts'])
})

test('nobody reads what our own errors say: they have types', () => {
  const found = FILES.filter((path) => parsed(file(path)).length > 0)
  expect(found.filter((path) => !(path in READS_OTHERS))).toEqual([])
  expect(Object.keys(READS_OTHERS).filter((path) => !FILES.includes(path))).toEqual([])
})

test.for([
  'if (/answered 5/.test(error.message)) return',
  "if (reason(error).startsWith('cannot reach')) return",
  "if (e.message === 'stopped') return",
  'const text = reason(error)\nconst status = /answered (\\d+)/.exec(text)',
  "const { message } = error\nreturn message.includes('too slow')",
])('a line that does is found: %s', (source) => expect(parsed(source)).toHaveLength(1))
