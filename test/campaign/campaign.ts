import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { ENGINES, type EngineName } from '../accept/engines.ts'
import { campaign } from './run.ts'

// For minutes on end the real worker is killed at any moment, and everything around it breaks, in an order that follows
// from one number; then every transaction, alarm and verdict is accounted for:
// npm run campaign -- [sqlite postgres kafka] [--minutes 10] [--seed N]

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { minutes: { type: 'string', default: '10' }, seed: { type: 'string', default: `${Date.now() % 1e6}` } },
})
const engines = (positionals.length > 0 ? positionals : [...ENGINES]) as EngineName[]
const [minutes, seed] = [Number(values.minutes), Number(values.seed)]
if (!engines.every((name) => ENGINES.includes(name)) || !(minutes > 0) || !Number.isInteger(seed)) {
  console.error(`campaign: wants engines of ${ENGINES.join(', ')}, minutes, and a whole number as seed`)
  process.exit(2)
}
let [passed, failed] = [0, 0]
for (const engine of engines) {
  const seconds = (minutes * 60) / engines.length
  console.log(`\n${engine}: ${Math.round(seconds)} s, seed ${seed}`)
  for (const [what, figure, holds] of await campaign({ engine, seconds, seed })) {
    console.log(`${holds ? 'ok  ' : 'FAIL'}  ${what}: ${figure}`)
    holds ? passed++ : failed++
  }
  await sleep(100)
}
console.log(`campaign: ${passed} passed, ${failed} failed`)
process.exit(failed > 0 ? 1 : 0)
