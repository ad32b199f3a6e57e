// Has Stryker change the heart of it, one place at a time, and asks the tests next to it: what none of them notices is a
// line that no test holds. npm run mutation -- [loop bisect outbox sqlite topic], or a part of one: bisect:1-60

type Part = { files: string; tests: string }
const TOPIC = 'test/topic/text.test.ts test/topic/topic.test.ts test/topic/sqlite.test.ts'
const PARTS: Record<string, Part> = {
  loop: { files: 'src/run/loop.ts', tests: 'test/run/loop.test.ts' },
  bisect: { files: 'src/run/bisect.ts', tests: 'test/run/bisect.test.ts' },
  sqlite: { files: 'src/topic/sqlite.ts', tests: TOPIC },
  topic: { files: 'src/topic/{topic,tail,text}.ts', tests: TOPIC },
  outbox: { files: 'src/alert/outbox.ts', tests: 'test/alert/outbox.test.ts test/alert/storm.test.ts' },
}
type Mutant = {
  fileName: string
  status: string
  statusReason?: string
  replacement?: string
  location: { start: { line: number; column: number } }
}
type Stryker = { new (options: object): { runMutationTest(): Promise<Mutant[]> } }

const asked = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(PARTS)
const name = '@stryker-mutator/core' // is there once npm run mutation has brought it
const { Stryker } = (await import(name)) as { Stryker: Stryker }
Object.assign(process.env, { STORM_SEEDS: '1-2', STORM_ROWS: '1500' })
for (const each of asked) {
  const [part, lines] = each.split(':')
  const { files, tests } = PARTS[part!]!
  process.env.TESTS = tests
  const mutants = await new Stryker({
    testRunner: 'vitest',
    vitest: { configFile: 'test/mutation/vitest.config.ts', related: false },
    mutate: [lines ? `${files}:${lines}` : files],
    tsconfigFile: 'none: TypeScript 7 has no API that Stryker could read it by',
    coverageAnalysis: 'perTest',
    concurrency: 2,
    timeoutFactor: 2, // of all that was run for it, and
    timeoutMS: 15_000, // an endless loop takes longer on a busy machine too
    reporters: ['progress-append-only'],
    tempDirName: 'node_modules/.cache/stryker',
    allowEmpty: false,
  }).runMutationTest()
  const count = (status: string) => mutants.filter((one) => one.status === status).length
  const [killed, endless, survived, uncovered] = ['Killed', 'Timeout', 'Survived', 'NoCoverage'].map(count) as number[]
  for (const { fileName, status, replacement, location, statusReason } of mutants)
    if (status !== 'Killed')
      console.log(
        `${status} ${fileName}:${location.start.line}:${location.start.column} ${replacement} ${statusReason ?? ''}`,
      )
  const valid = killed! + endless! + survived! + uncovered!
  console.log(`${each}: ${killed! + endless!} of ${valid} (${endless} endless)`)
}
