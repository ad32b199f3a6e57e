import type { Registry } from 'prom-client'
import type { Board } from '../care/board.ts'
import type { Quality } from '../care/care.ts'
import { say } from '../notify/shown.ts'
import { Gauge } from './prometheus.cjs'

const SHARES = [
  ['false_negative_rate', 'Frauds that the model missed, of all frauds', (board: Board) => board.falseNegativeRate],
  ['precision', 'Alarms that were fraud, of those with a verdict', (board: Board) => board.precision],
  ['flagged_share', 'Alarms, of all that was judged', (board: Board) => board.flagged],
] as const

/** How good the models are, as it was counted last, as gauges; what cannot be known has none. */
export function qualityGauges(registry: Registry, latest: () => Quality | undefined) {
  for (const [name, help, of] of SHARES)
    new Gauge({
      name: `client_predict_${name}`,
      help: `${help}, with the bounds that hold 95 times in 100`,
      labelNames: ['model', 'threshold', 'bound'],
      registers: [registry],
      collect() {
        this.reset()
        for (const board of latest()?.boards ?? []) {
          const share = board.rows > 0 ? of(board) : undefined
          if (!share) continue
          const labels = { model: say(board.model ?? '', 80), threshold: String(board.threshold ?? '') }
          for (const [bound, value] of [['value', share.value], ...bounds(share.interval)] as const)
            this.set({ ...labels, bound }, value)
        }
      },
    })
}
const bounds = ([low, high]: readonly [number, number]) => [['low', low] as const, ['high', high] as const]
