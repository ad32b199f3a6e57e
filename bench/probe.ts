import { writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'

// Loaded into the worker before its own code: measures it from inside, a lap at each SIGUSR2 and at the end.

/** CPU in µs, memory in MB (`peak` since the start), the delay of the event loop in ms. */
export type Lap = { cpu: number; memory: number; peak: number; p99: number; longest: number }

const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
const laps: Lap[] = []
let before = process.cpuUsage()

function lap() {
  const { user, system } = process.cpuUsage(before)
  before = process.cpuUsage()
  const { rss } = process.memoryUsage()
  laps.push({
    cpu: user + system,
    memory: rss / 2 ** 20,
    peak: process.resourceUsage().maxRSS / 1024,
    p99: delay.percentile(99) / 1e6,
    longest: delay.max / 1e6,
  })
  delay.reset()
}
process.on('SIGUSR2', lap)
process.on('exit', () => {
  lap()
  writeFileSync(process.env.BENCH_LAPS!, JSON.stringify(laps))
})
