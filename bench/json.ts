// How fast our JSON is beside others', on a document of 1,000 generated rows: node bench/json.ts
import { parse as losslessParse, stringify as losslessStringify, parseNumberAndBigInt } from 'lossless-json'
import { parse, stringify } from '../src/io/json.ts'
import { history } from '../src/simulate/history.ts'

const ROWS = 1000
const ROUNDS = 200
const WARM_UP = 20

/** The usual way to exact integers: a reviver that looks at the source of each number. */
const revived = (text: string) =>
  JSON.parse(text, ((_key: string, value: unknown, { source }: { source?: string }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(source ?? '')
      ? BigInt(source!)
      : value) as Parameters<typeof JSON.parse>[1])

const rows = [...history({ rows: ROWS, seed: 1 })]
const document = {
  columns: Object.keys(rows[0]!),
  index: rows.map((_, i) => i),
  data: rows.map((r) => Object.values(r)),
}
const text = stringify(document)
const exact = parse(text)
const rounded = JSON.parse(text)

console.log(
  `${ROWS} rows, ${Math.round(text.length / 1024)} kB, median of ${ROUNDS} rounds; the first line of each loses digits`,
)
compare('parse', {
  'JSON.parse': () => JSON.parse(text),
  ours: () => parse(text),
  reviver: () => revived(text),
  'lossless-json': () => losslessParse(text, undefined, parseNumberAndBigInt),
})
compare('stringify', {
  'JSON.stringify': () => JSON.stringify(rounded),
  ours: () => stringify(exact),
  'lossless-json': () => losslessStringify(exact),
})

/** Takes turns, so that a busy moment of the machine hits all of them. */
function compare(title: string, ways: Record<string, () => unknown>) {
  const times = Object.entries(ways).map(([name, run]) => ({ name, run, ms: [] as number[] }))
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    for (const { run, ms } of times) {
      const start = performance.now()
      run()
      if (round >= 0) ms.push(performance.now() - start)
    }
  }
  const medians = times.map(({ name, ms }) => ({ name, median: ms.sort((a, b) => a - b)[ROUNDS / 2]! }))
  console.log(`\n${title}`)
  for (const { name, median } of medians)
    console.log(
      `  ${name.padEnd(15)} ${median.toFixed(2).padStart(6)} ms ${(median / medians[0]!.median).toFixed(1).padStart(6)}×`,
    )
}
